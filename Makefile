# Each target is one script; CI calls the same ones.
.PHONY: run test drill bench bench-short bench-full check fix docs site lock env
run:   ; @scripts/run $(ARGS)
test:  ; @scripts/test $(ARGS)
quick: ; @scripts/quick $(ARGS)
drill: ; @scripts/drill $(ARGS)
bench: ; @scripts/bench pairs $(ARGS)
bench-short: ; @scripts/bench short $(ARGS)
bench-full: ; @scripts/bench full $(ARGS)
check: ; @scripts/check
fix:   ; @scripts/fix
docs:  ; @scripts/docs
site:  ; @scripts/site $(ARGS)
lock:  ; @scripts/lock $(ARGS)
env:   ; @scripts/env

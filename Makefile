# Each target is one script; CI calls the same ones.
.PHONY: run test quick drill bench bench-full check fix docs lock env
run:   ; @scripts/run $(ARGS)
test:  ; @scripts/test $(ARGS)
quick: ; @scripts/quick $(ARGS)
drill: ; @scripts/drill $(ARGS)
bench: ; @scripts/bench short $(ARGS)
bench-full: ; @scripts/bench full $(ARGS)
check: ; @scripts/check
fix:   ; @scripts/fix
docs:  ; @scripts/docs
lock:  ; @scripts/lock $(ARGS)
env:   ; @scripts/env

# Each target is one script; CI calls the same ones.
.PHONY: run test drill check fix docs lock env
run:   ; @scripts/run $(ARGS)
test:  ; @scripts/test $(ARGS)
drill: ; @scripts/drill $(ARGS)
check: ; @scripts/check
fix:   ; @scripts/fix
docs:  ; @scripts/docs
lock:  ; @scripts/lock $(ARGS)
env:   ; @scripts/env

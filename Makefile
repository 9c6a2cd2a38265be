# Each target is one script; CI calls the same ones.
.PHONY: run test check fix lock env
run:   ; @scripts/run $(ARGS)
test:  ; @scripts/test $(ARGS)
check: ; @scripts/check
fix:   ; @scripts/fix
lock:  ; @scripts/lock $(ARGS)
env:   ; @scripts/env

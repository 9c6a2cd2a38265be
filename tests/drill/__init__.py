"""The fault drill: runs a real cluster under load, breaks it, and checks what clients saw.

    make drill ARGS="--faults kill,pause-long --seed 7"

`load` and `connection` record what every client sent and received (`history`), `faults` break what `cluster` runs, and
`checker` decides from the history and the log alone whether a promise was broken. `faulty` starts nodes with deliberate
bugs, which test the checker. See `docs/explanation/reliability.md`.
"""

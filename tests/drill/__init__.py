"""The fault drill: a real cluster under load, broken on purpose, and its history judged.

    make drill ARGS="--faults kill,pause-long --seed 7"

`load` and `connection` write down what every client did and heard (`history`), `faults` break what `cluster` runs, and
`checker` says from the history and the log alone whether a promise was broken. `faulty` starts nodes with deliberate
bugs, so that the checker is itself checked. See `docs/explanation/reliability.md`.
"""

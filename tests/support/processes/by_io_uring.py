"""A node that writes by io_uring also where few subscribers of a room are connected, as in a drill."""

import sys

from service.cli import main
from service.gateway.transport import io_uring

if __name__ == "__main__":
    io_uring.FEWEST = 1
    sys.exit(main())

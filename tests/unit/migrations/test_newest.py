"""The newest version, which nodes compare with the database's, is found without Alembic."""

import subprocess
import sys

from alembic.script import ScriptDirectory

from migrations import MIGRATIONS, newest


def test_the_newest_file_is_alembics_only_head() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [newest()]


def test_a_node_and_a_later_start_of_make_run_import_no_alembic() -> None:
    modules = "service.cli.node, service.node.server, service.node.projector, service.embedded"
    program = f"import sys, {modules}; print([name for name in sys.modules if name.startswith(('alembic', 'mako'))])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"

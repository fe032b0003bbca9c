"""A build is what an environment's own program says that it is."""

import pytest

from environments import environment_with
from sigbridge_bench.errors import BenchError
from sigbridge_bench.pair_builds import build_at


@pytest.mark.parametrize("script", ["echo something else", "exit 3", "#!/nowhere"])
def test_a_program_that_does_not_say_its_version_is_no_build(script, tmp_path):
    with pytest.raises(BenchError, match="prints none"):
        build_at(str(environment_with(tmp_path, script)))

"""Options of XLA for the train step: what is set, and what the user's environment keeps."""

import os
import subprocess
import sys
from importlib.metadata import version

import jax
import pytest

from albef_jax.config.auto import values
from albef_jax.distributed.mesh import make_mesh
from albef_jax.tasks.shared.sketch import sketch
from albef_jax.train.xla_flags import FLAGS, FLAGS_OF_SEVERAL, flags, told
from tests.helpers.tiny_run import scenes_config

SCHEDULER = "xla_gpu_enable_latency_hiding_scheduler"
MERGER = "xla_gpu_dot_merger_threshold_mb"
ALONE = {MERGER: 0}
BOTH = {MERGER: 0, SCHEDULER: True}
LIBRARY = "xla_cpu_experimental_ynn_fusion_type"
PRODUCTS = {LIBRARY: "LIBRARY_FUSION_TYPE_DOT"}


@pytest.mark.parametrize(
    ("platform", "devices", "environment", "wanted"),
    [
        ("gpu", 8, {}, BOTH),
        ("tpu", 16, {}, {}),
        ("cpu", 8, {}, PRODUCTS),
        ("cpu", 8, {"XLA_FLAGS": f"--{LIBRARY}="}, {}),
        ("gpu", 1, {}, ALONE),
        ("gpu", 8, {"XLA_FLAGS": "--xla_dump_to=/tmp/x"}, BOTH),
        ("gpu", 8, {"XLA_FLAGS": f"--xla_dump_to=/tmp/x --{SCHEDULER}=false"}, ALONE),
        ("gpu", 8, {"XLA_FLAGS": f"-{SCHEDULER}"}, ALONE),
        ("gpu", 8, {"XLA_FLAGS": f"--{SCHEDULER}_too=1"}, BOTH),
        ("gpu", 8, {"XLA_FLAGS": "my_flags.txt"}, {}),
    ],
)
def test_what_is_set_and_what_the_user_keeps(platform, devices, environment, wanted):
    before = dict(environment)
    assert flags(platform, devices, environment) == wanted
    assert environment == before


def test_the_line_of_the_log():
    line = told(BOTH)
    assert line.startswith(f"xla: {MERGER}=0, {SCHEDULER}=true ")
    assert f"{LIBRARY}=LIBRARY_FUSION_TYPE_DOT " in told(PRODUCTS)
    assert "train.xla_flags=none" in line and "\n" not in line


def lowered_with(monkeypatch, option, platform="gpu"):
    """What a task would compile its step with on such devices."""
    config = scenes_config()
    config.train.xla_flags = option
    given = []
    monkeypatch.setattr("albef_jax.tasks.shared.base.compile_step", lambda *a: given.append(a[3]))
    monkeypatch.setattr(
        "albef_jax.tasks.shared.base.xla_flags.flags",
        lambda _, devices, environment: flags(platform, devices, {}),
    )
    sketch(config, values(config)).step(make_mesh(), None)
    return given[0]


def test_a_task_compiles_with_them_and_says_so(monkeypatch, capsys):
    assert lowered_with(monkeypatch, "fast") == BOTH
    assert capsys.readouterr().out.startswith("xla: ")
    assert lowered_with(monkeypatch, "none") == {}
    assert lowered_with(monkeypatch, "fast", "tpu") == {}
    assert not capsys.readouterr().out


def test_jax_takes_them_as_they_are():
    """Those of all platforms are known to every jaxlib."""
    options = FLAGS["gpu"] | FLAGS_OF_SEVERAL["gpu"] | FLAGS["cpu"]
    assert jax.jit(lambda x: x + 1, compiler_options=options)(1) == 2
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option"):
        jax.jit(lambda x: x + 1, compiler_options={"xla_gpu_no_such_option": True})(1)


@pytest.mark.skipif(version("jax") >= "0.11", reason="what the documentation says of jax 0.10")
def test_they_are_off_by_default_and_others_are_on():
    from jaxlib.xla_client import CompileOptions

    options = CompileOptions()  # owns what is read below
    lines = str(options.executable_build_options.debug_options).splitlines()
    assert f"{SCHEDULER}: false" in lines
    assert f"{MERGER}: 64" in lines
    assert "xla_gpu_enable_highest_priority_async_stream: true" in lines
    assert "xla_gpu_enable_command_buffer: FUSION" in lines


def test_a_cpu_sums_rows_by_itself():
    """Its library would take twenty times as long (docs/performance.md)."""

    def program(options) -> str:
        rows = jax.ShapeDtypeStruct((224, 30_522), "float32")
        summed = jax.jit(lambda x: (x * x).sum(-1), compiler_options=options)
        return summed.lower(rows).compile().as_text()

    assert "ynn_fusion" not in program(FLAGS["cpu"])


def test_nothing_is_set_in_the_environment():
    script = (
        "import os; before = dict(os.environ); import jax; import albef_jax.tasks.pretrain;"
        "from albef_jax.train.xla_flags import flags;"
        "flags(jax.default_backend(), 8, os.environ);"
        "changed = {k for k in os.environ if before.get(k) != os.environ[k]};"
        "assert not changed & {'XLA_FLAGS', 'LIBTPU_INIT_ARGS'}, changed"
    )
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    subprocess.run(
        [sys.executable, "-c", script], env={**environment, "JAX_PLATFORMS": "cpu"}, check=True
    )

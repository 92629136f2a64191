"""Programs small enough to count their traffic by hand, compiled for devices that are not there.

Their texts are kept in tests/benchmarks/programs; write them anew, in an environment with jax's
CUDA wheels and libtpu, with

    python -m tests.helpers.small_programs
"""

import os
import re
from pathlib import Path

KEPT = Path(__file__).parents[1] / "benchmarks" / "programs"


def programs() -> dict[str, str]:
    """The optimised text of each."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    from benchmarks.described import described_mesh

    one, eight = described_mesh("h100"), described_mesh("h100", 8)

    def array(*shape, dtype=jnp.float32, mesh=one, axes=()):
        sharding = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    def chain(x):
        return jnp.tanh(2 * x + 1) * x

    def product(x, w):
        return x @ w

    def loop(x, stack):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x + w), None), x, stack)[0]

    def update(queue, rows, place):
        return jax.lax.dynamic_update_slice(queue, rows * 2, (place, 0))

    def lookup(table, ids):
        return 2 * table[ids]

    def add_rows(table, ids, rows):
        return table.at[ids].add(2 * rows, mode="drop")

    def flash(q, k, v):
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn").astype("float32").sum()

    def gradient(w, x):
        return jax.grad(lambda w: jnp.sum(jnp.tanh(x @ w) ** 2))(w)

    def beside(w, x, a):
        """The gradient of `w` is summed over devices while others wait to be computed."""
        summed = gradient(w, x)
        for _ in range(4):
            x = jnp.tanh(x @ a)
        return summed, x

    heads = array(4, 258, 2, 64, dtype=jnp.bfloat16)
    bf16 = {"dtype": jnp.bfloat16}
    rows = array(512, 256, mesh=eight, axes=("data",))
    jitted = {
        "chain": (jax.jit(chain), array(1024, 1024)),
        "conversion": (jax.jit(lambda x: x.astype(jnp.bfloat16)), array(1024, 1024)),
        "product": (jax.jit(product), array(512, 256, **bf16), array(256, 128, **bf16)),
        "loop": (jax.jit(loop), array(256, 256), array(8, 256, 256)),
        "update": (
            jax.jit(update, donate_argnums=0),
            *(array(4096, 256), array(64, 256), array(dtype=jnp.int32)),
        ),
        "lookup": (jax.jit(lookup), array(4096, 256), array(32, dtype=jnp.int32)),
        "add_rows": (
            jax.jit(add_rows, donate_argnums=0),
            *(array(4096, 256), array(32, dtype=jnp.int32), array(32, 256)),
        ),
        "flash": (jax.jit(jax.grad(flash, argnums=(0, 1, 2))), heads, heads, heads),
        "summed": (jax.jit(gradient), array(256, 128, mesh=eight), rows),
        "beside": (
            jax.jit(beside),
            *(array(256, 128, mesh=eight), rows, array(256, 256, mesh=eight)),
        ),
    }
    return {
        name: function.lower(*given).compile().as_text()
        for name, (function, *given) in jitted.items()
    }


def tpu_programs() -> dict[str, str]:
    """The same for a v5e, of a loop that keeps what it carries; needs libtpu."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec

    from benchmarks.described import described_mesh

    here = NamedSharding(described_mesh("v5e"), PartitionSpec())

    def loop(x, w, stack):
        return jax.lax.scan(lambda x, s: ((jnp.tanh(x + s) @ w).astype(x.dtype), x), x, stack)

    square = jax.ShapeDtypeStruct((512, 512), jnp.bfloat16, sharding=here)
    stack = jax.ShapeDtypeStruct((8, 512, 512), jnp.bfloat16, sharding=here)
    text = jax.jit(loop).lower(square, square, stack).compile().as_text()
    return {"loop_tpu": re.sub(r", backend_config=\{.*\}$", "", text, flags=re.M)}


def main() -> None:
    """Write them, without the folders of this machine."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    KEPT.mkdir(exist_ok=True)
    for name, text in {**programs(), **tpu_programs()}.items():
        plain = re.sub(r'"/[^"]*?/((?:tests|benchmarks|albef_jax|site-packages)/)', r'"\1', text)
        (KEPT / f"{name}.hlo").write_text(plain, "utf-8")


if __name__ == "__main__":
    main()

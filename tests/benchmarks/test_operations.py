"""Operations of matrix products, counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.operations import products

A, B = jnp.ones((3, 5)), jnp.ones((5, 7))
ONE = 2 * 3 * 5 * 7


def repeated(a, b, count):
    return jax.lax.fori_loop(0, count, lambda _, total: total + a @ b, jnp.zeros((3, 7)))


def scanned(a, b):
    return jax.lax.scan(lambda total, _: (total + a @ b, None), jnp.zeros((3, 7)), length=4)


def chosen(a, b, which):
    return jax.lax.cond(which, lambda: a @ b @ b.T, lambda: a)


@pytest.mark.parametrize(
    ("function", "given", "expected"),
    [
        (lambda a, b: a @ b + 1, (), ONE),
        (jax.jit(lambda a, b: jnp.sin(a) @ b), (), ONE),
        (jax.grad(lambda a, b: jnp.sum(a @ b)), (), 2 * ONE),
        (jax.checkpoint(lambda a, b: a @ b), (), ONE),
        (scanned, (), 4 * ONE),
        (chosen, (True,), 2 * ONE),
        (lambda a, b: jnp.einsum("ij,jk->ki", a, b), (), ONE),
        (
            lambda a, b: jnp.einsum("bij,bjk->bik", jnp.stack([a, a]), jnp.stack([b, b])),
            (),
            2 * ONE,
        ),
    ],
)
def test_products(function, given, expected):
    assert products(function, A, B, *given) == expected


def test_a_loop_of_unknown_length_counts_as_told():
    assert products(repeated, A, B, 9) == 0
    assert products(repeated, A, B, 9, turns=3) == 3 * ONE


def test_a_convolution():
    def convolve(image, kernel):
        return jax.lax.conv(image, kernel, (1, 1), "VALID")

    image, kernel = jnp.ones((2, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
    assert products(convolve, image, kernel) == 2 * (3 * 3 * 3) * (2 * 4 * 6 * 6)

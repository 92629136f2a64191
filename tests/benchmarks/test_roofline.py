"""Traffic and operations of small programs, compiled for an H100 and counted by hand.

`tests/helpers/small_programs.py` has the programs and writes their texts anew; `parts.hlo` is
made up.
"""

from pathlib import Path

import pytest

from benchmarks import overlap, roofline
from benchmarks.devices import DEVICES
from benchmarks.hlo import Array, Program, arrays, parse
from benchmarks.parts import PARTS

KEPT = Path(__file__).parent / "programs"
H100 = DEVICES["h100"]
MATRIX = 256 * 256 * 4


def kept(name: str) -> Program:
    return parse((KEPT / f"{name}.hlo").read_text("utf-8"))


def kernels(name: str) -> list[roofline.Kernel]:
    return roofline.kernels(kept(name), H100)


def test_a_chain_reads_and_writes_once():
    (chain,) = kernels("chain")
    assert chain.bytes == 2 * 1024 * 1024 * 4
    assert chain.operations == 0 and chain.times == 1
    assert chain.seconds == pytest.approx(chain.bytes / 3.0e12 + 2e-6)


def test_a_product():
    (product,) = kernels("product")
    assert product.kind == "product"
    assert product.operations == 2 * 512 * 256 * 128
    assert product.bytes == 2 * (512 * 256 + 256 * 128 + 512 * 128)  # not its scratch memory


def test_a_loop_counts_as_often_as_it_runs_and_reads_slices_of_its_stack():
    body = next(one for one in kernels("loop") if one.name == "loop_tanh_fusion")
    assert body.times == 8
    assert body.bytes == 8 * (3 * MATRIX + 4)  # the sum so far, a slice, the result; the number
    copied = [one for one in kernels("loop") if one.kind == "copy"]
    assert sum(one.bytes for one in copied) == 2 * MATRIX + 2 * 4


def test_an_update_in_place_moves_the_update():
    (update,) = kernels("update")
    assert update.bytes == 2 * 64 * 256 * 4 + 4


def test_a_lookup_moves_rows():
    (lookup,) = kernels("lookup")
    assert lookup.bytes == 2 * 32 * 256 * 4 + 32 * 4


def test_rows_that_are_added_in_place_are_read_and_written():
    (add,) = kernels("add_rows")
    assert add.bytes == 3 * 32 * 256 * 4 + 32 * 4


def test_flash_attention_has_the_operations_of_its_products():
    flash = [one for one in kernels("flash") if one.kind == "flash attention"]
    one_product = 2 * 4 * 2 * 258 * 258 * 64
    assert [one.operations for one in flash] == [2 * one_product, 5 * one_product]
    tokens = 4 * 258 * 2 * 64 * 2
    assert flash[0].bytes == 4 * tokens + 4 * 2 * 258 * 4  # q, k, v, result; a norm for each row


def test_messages_and_the_kernels_beside_them():
    (alone,) = overlap.messages(kept("summed"), H100)
    assert (alone.kind, alone.dtypes, alone.bytes) == ("all-reduce", ("f32",), 256 * 128 * 4)
    assert alone.kernels == 0
    (beside,) = overlap.messages(kept("beside"), H100)
    assert beside.bytes == alone.bytes
    assert beside.kernels == 7  # four times tanh, three products
    assert beside.seconds > 7 * H100.launch
    (line,) = overlap.summary([beside])
    assert line["mb_beside_kernels"] == line["mb"] == 0.131


def test_parts_passes_and_source_lines():
    found = {one.name: one for one in roofline.kernels(kept("parts"), H100)}
    where = {name: (one.part, one.phase) for name, one in found.items()}
    assert where == {
        "student": ("image", "forward"),
        "slope": ("image", "backward"),
        "teacher": ("teacher", "forward"),
        "moment": ("optimizer", "forward"),
        "zeros": ("fusion", "forward"),  # for what reads it, through the tuple
        "taken": ("fusion", "forward"),
    }
    assert {part for part, _ in where.values()} <= set(PARTS)
    # A helper traced for the text first has the text's frame in front of the image's.
    assert found["student"].source == "albef_jax/models/vit.py:7"
    assert found["teacher"].source == "albef_jax/models/bert.py:31"
    assert found["moment"].source == "update.py:9"


def test_a_conversion_reads_what_it_converts():
    (conversion,) = kernels("conversion")
    assert conversion.bytes == 1024 * 1024 * (4 + 2)


def test_a_loop_on_a_tpu():
    """Arrays on the chip are free, slices are inside fusions of fusions, a condition counts."""
    program = kept("loop_tpu")
    found = {one.name: one for one in roofline.kernels(program, H100)}
    product, stack = found["fusion.11"], found["bitcast_dynamic-update-slice_fusion.2"]
    square = 512 * 512 * 2
    assert roofline.unknown_loops(program) == 0
    assert product.operations == 8 * 2 * 512**3
    assert product.bytes == 8 * 2 * square  # a slice of the stack, and the weights
    assert stack.bytes == 8 * square
    assert "custom-call" not in found  # which only sets memory aside
    # The result leaves the chip while other kernels could run.
    assert found["copy-start"].bytes == square and found["copy-start"].beside
    alone = sum(one.seconds for one in found.values() if not one.beside)
    assert roofline.least_seconds(list(found.values()), H100) == pytest.approx(alone)
    assert roofline.least_seconds([found["copy-start"]], H100) == square / H100.bandwidth


def test_a_message_between_chips_counts_wherever_it_lies():
    text = """
ENTRY %main (x: bf16[8,256]) -> bf16[8,256] {
  %x = bf16[8,256]{1,0:S(1)} parameter(0)
  ROOT %sum = bf16[8,256]{1,0:T(8,128)(2,1)S(1)} all-reduce(%x), to_apply=%add
}
"""
    (message,) = overlap.messages(parse(text), H100)
    assert (message.bytes, message.kernels) == (8 * 256 * 2, 0)


def test_a_slice_that_is_fetched_beside_other_work_reads_the_slice():
    text = """
ENTRY %main (x: f32[8,256]) -> f32[1,256] {
  %x = f32[8,256]{1,0} parameter(0)
  %s = ((f32[8,256]{1,0}), f32[1,256]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%x), slice={[0:1]}
  ROOT %done = f32[1,256]{1,0:S(1)} slice-done(%s)
}
"""
    (fetched,) = roofline.kernels(parse(text), H100)
    assert fetched.bytes == 256 * 4 and fetched.beside


def test_convolutions_count_what_they_multiply():
    """A product in a batch of 8 as XLA:TPU writes it, and a real one with padding."""
    text = """
ENTRY %main (x: bf16[8,4,16], w: bf16[8,32,16], image: f32[2,5,5,3], f: f32[3,3,3,7]) -> f32[] {
  %x = bf16[8,4,16] parameter(0)
  %w = bf16[8,32,16] parameter(1)
  %image = f32[2,5,5,3] parameter(2)
  %f = f32[3,3,3,7] parameter(3)
  %batched = bf16[8,4,32] convolution(%x, %w), WINDOW, dim_labels=0bf_0oi->0bf
  ROOT %real = f32[2,5,5,7] convolution(%image, %f), PADDED, dim_labels=b01f_01io->b01f
}
""".replace("WINDOW", "window={size=8 stride=7 lhs_dilate=8}")
    text = text.replace("PADDED", "window={size=3x3 pad=1_1x1_1}")
    batched, real = roofline.kernels(parse(text), H100)
    assert batched.operations == 2 * 8 * 4 * 16 * 32
    assert real.operations == 2 * 2 * (3 * 3 + 2 * 2) ** 2 * 3 * 7  # 13 of 15 taps an axis


def test_layouts_of_tpus_and_small_types():
    program = kept("parts")
    assert program.computations["main"]["p"].arrays == (Array("bf16", (8, 4), space=1),)
    student = next(one for one in roofline.kernels(program, H100) if one.name == "student")
    assert student.bytes == 8 * 4 * 2  # its operand lies on the chip
    sizes = [array.bytes for array in arrays("(pred[3], s4[5], f8e4m3fn[2], c64[2], token[])")]
    assert sizes == [3, 3, 2, 16]


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="no program of XLA"):
        parse("some other text\n")

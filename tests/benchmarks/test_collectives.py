"""What devices say to each other, read from a program's text; of a whole step in
`train/test_mesh_invariance.py`."""

from benchmarks.collectives import bytes_by_kind, collectives, host_transfers


def test_loops_and_tuples_are_counted():
    """A message in a loop of 12 turns, and one of two arrays outside."""
    text = """HloModule step

%body.1 (arg: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %gathered = bf16[4,8]{1,0} all-gather(%x), dimensions={0}
}

ENTRY %main.2 (p: f32[2]) -> f32[2] {
  %loop = (s32[]) while(%t), condition=%c, body=%body.1, config={"known_trip_count":{"n":"12"}}
  %both = (f32[3,5]{1,0}, f32[]) all-reduce(%a, %b), to_apply=%sum
  %host = f32[2] custom-call(%y), custom_call_target="xla_python_cpu_callback"
}
"""
    found = {one.kind: one for one in collectives(text)}
    assert found["all-gather"].bytes == 12 * 4 * 8 * 2
    assert found["all-gather"].times == 12
    assert found["all-reduce"].shapes == ((3, 5), ())
    assert bytes_by_kind(list(found.values())) == {"all-gather": 768, "all-reduce": 64}
    assert len(host_transfers(text)) == 1

"""What devices say to each other, read from a program's text; of a whole step in
`train/test_mesh_invariance.py`."""

import pytest

from benchmarks.collectives import bytes_by_kind, collectives, host_transfers, sent_between_slices


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


@pytest.mark.parametrize(
    "written, groups",
    [
        ("{{0,1},{2,3}}", ((0, 1), (2, 3))),
        ("[2,2]<=[4]", ((0, 1), (2, 3))),
        ("[2,2]<=[2,2]T(1,0)", ((0, 2), (1, 3))),
        ("{{0,1,2,3}}", ((0, 1, 2, 3),)),
        ("mesh['a'=2,'b'=2] {'b'}", ((0, 1), (2, 3))),
        ("mesh['a'=2,'b'=2], device_ids=([2,2]T(1,0)) {'b'}", ((0, 2), (1, 3))),
        ("mesh['a'=2,'b'=2] {'a','b'}", ((0, 1, 2, 3),)),
    ],
)
def test_who_exchanges_it(written, groups):
    text = f"""
ENTRY %main.2 (p: f32[2]) -> f32[2] {{
  %sum = f32[2]{{0}} all-reduce(%p), replica_groups={written}, to_apply=%sum
}}
"""
    (found,) = collectives(text)
    assert found.groups == groups
    assert found.crosses(2) == (groups != ((0, 1), (2, 3)))
    assert not found.crosses(4)


def test_what_goes_to_other_slices():
    """Messages by the hosts, each in as many turns as its loop has; none to a host itself."""
    text = """
%body.1 (arg: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %send = (f32[4,8]{1,0}, u32[], token[]) send(%x, %t), attributes={handler="xla_megascale_runtime"}
}

ENTRY %main.2 (p: f32[2]) -> f32[2] {
  %loop = (s32[]) while(%t), condition=%c, body=%body.1, config={"known_trip_count":{"n":"3"}}
  %send.1 = (f32[100]{0}, u32[], token[]) send(%y, %t), attributes={handler="other"}
}
"""
    assert sent_between_slices(text) == 3 * 4 * 8 * 4

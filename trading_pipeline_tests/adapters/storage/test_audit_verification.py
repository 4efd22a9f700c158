import os
import tracemalloc
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trading_pipeline.adapters.storage.audit import HEAD_KEY, MOST_RECORDS, segment_keys
from trading_pipeline.adapters.storage.audit_verification import Anchor, LogVerification
from trading_pipeline.domain.audit import AuditEvent, day_of, head_of, record_of
from trading_pipeline.domain.audit_verification import FindingKind
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline_tests.audit_builders import NOON, MemoryObjects, drafts, log_over, make_draft

SIZES = (1, 3, 2, 4)
RECORDS = sum(SIZES)
FIRST, SECOND, THIRD, LAST = (f"audit/2026/07/31/{number:012d}.jsonl" for number in (1, 2, 5, 7))
MANY = 100_000 if os.environ.get("FULL") else 3_000


def written():
    """Return the objects of a log of ten records in four segments."""
    objects, begun = MemoryObjects(), 0
    for size in SIZES:
        log_over(objects).append(drafts(size, first=begun))
        begun += size
    return objects


CONTENT = written().content
LINES = [(key, number) for key in (FIRST, SECOND, THIRD, LAST) for number in range(CONTENT[key].count(b"\n"))]


def corruptions(objects, **how):
    return [found for found in LogVerification(objects, **how).findings() if found.is_corruption]


def kinds(objects, **how):
    return [found.kind for found in corruptions(objects, **how)]


def changed(key, change):
    """Return the log with the lines of one segment changed."""
    objects = MemoryObjects(CONTENT)
    objects.content[key] = b"".join(change(CONTENT[key].splitlines(keepends=True)))
    return objects


def rehashed(line, previous=None, **changes):
    """Return a line with other values and a hash that fits them, as a forger who knows the form writes it."""
    record = record_of(line)
    return replace(record, **changes).chained(record.sequence, previous or record.previous_hash).line


def test_what_was_written_is_whole_and_its_figures_are_told():
    look = LogVerification(MemoryObjects(CONTENT))

    assert list(look.findings()) == []
    assert (look.records, look.segments, look.head.sequence) == (RECORDS, len(SIZES), RECORDS)


def test_where_nothing_was_logged_nothing_is_wrong():
    [note] = LogVerification(MemoryObjects()).findings()
    assert note.kind is FindingKind.NOTE


@given(st.sampled_from(sorted(CONTENT)), st.data())
def test_any_byte_that_is_changed_anywhere_is_found(key, data):
    content = CONTENT[key]
    place = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))
    objects = MemoryObjects(CONTENT)
    objects.content[key] = content[:place] + bytes([byte]) + content[place + 1 :]

    assert any(finding.place.startswith(key) for finding in corruptions(objects))


@given(st.sampled_from(sorted(CONTENT)), st.data())
def test_a_file_that_is_cut_anywhere_is_found(key, data):
    length = data.draw(st.integers(0, len(CONTENT[key]) - 1))
    objects = MemoryObjects(CONTENT)
    objects.content[key] = CONTENT[key][:length]

    assert corruptions(objects)


@given(st.sampled_from(LINES))
def test_any_record_that_is_taken_out_is_found_and_named(place):
    key, number = place
    objects = changed(key, lambda lines: lines[:number] + lines[number + 1 :])

    sequence = LINES.index(place) + 1
    told = " ".join(map(str, corruptions(objects)))
    assert f"record {sequence} is missing" in told or sequence == RECORDS or "holds nothing" in told
    assert corruptions(objects)


@given(st.sampled_from(LINES), st.sampled_from(LINES))
def test_any_two_records_that_are_swapped_are_found(one, other):
    assume(one != other)
    objects = MemoryObjects(CONTENT)
    lines = {place: CONTENT[place[0]].splitlines(keepends=True)[place[1]] for place in LINES}
    lines[one], lines[other] = lines[other], lines[one]
    for key in (FIRST, SECOND, THIRD, LAST):
        objects.content[key] = b"".join(line for place, line in lines.items() if place[0] == key)

    assert FindingKind.REORDERED in kinds(objects)


@given(st.sampled_from(LINES), st.sampled_from(LINES))
def test_any_record_that_is_repeated_anywhere_is_found(repeated, after):
    line = CONTENT[repeated[0]].splitlines(keepends=True)[repeated[1]]
    objects = changed(after[0], lambda lines: [*lines[: after[1] + 1], line, *lines[after[1] + 1 :]])

    assert {FindingKind.DUPLICATED, FindingKind.REORDERED} & set(kinds(objects))


@given(st.sampled_from(LINES), st.sampled_from(["actor", "event", "run_id", "code_version", "causation_id"]))
def test_any_record_that_was_rewritten_with_a_hash_that_fits_is_found(place, name):
    key, number = place
    objects = changed(
        key, lambda lines: [*lines[:number], rehashed(lines[number], **{name: "x"}), *lines[number + 1 :]]
    )

    found = corruptions(objects)
    assert {finding.kind for finding in found} <= {FindingKind.EDITED, FindingKind.HEAD}
    assert found


@given(st.sampled_from([FIRST, SECOND, THIRD, LAST]))
def test_any_segment_that_is_taken_away_is_found(key):
    objects = MemoryObjects(CONTENT)
    del objects.content[key]

    assert kinds(objects)[0] is (FindingKind.TRUNCATED if key == LAST else FindingKind.REMOVED)


@given(st.integers(0, len(SIZES) - 1))
def test_any_end_that_is_cut_off_is_found_and_counted(kept):
    objects = MemoryObjects(CONTENT)
    for key in (FIRST, SECOND, THIRD, LAST)[kept:]:
        del objects.content[key]

    [finding] = corruptions(objects)
    assert finding.kind is FindingKind.TRUNCATED
    assert f"{RECORDS - sum(SIZES[:kept])} records were cut off" in finding.text


@given(st.sampled_from([FIRST, SECOND, THIRD, LAST]), st.integers(1, 99), st.sampled_from(["07/31", "08/01"]))
def test_any_segment_that_is_copied_under_another_name_is_found(key, number, day):
    objects = MemoryObjects(CONTENT)
    copy = f"audit/2026/{day}/{number:012d}.jsonl"
    assume(copy not in objects.content)
    objects.content[copy] = CONTENT[key]

    assert {FindingKind.DUPLICATED, FindingKind.REORDERED} & set(kinds(objects))


@given(st.permutations([FIRST, SECOND, THIRD, LAST]))
def test_any_segments_that_change_places_are_found(order):
    assume(order != [FIRST, SECOND, THIRD, LAST])
    objects = MemoryObjects(CONTENT)
    for key, other in zip((FIRST, SECOND, THIRD, LAST), order, strict=True):
        objects.content[key] = CONTENT[other]

    assert FindingKind.REORDERED in kinds(objects)


def test_a_segment_that_was_moved_to_another_day_is_found():
    objects = MemoryObjects(CONTENT)
    objects.content["audit/2026/08/01/000000000005.jsonl"] = objects.content.pop(THIRD)

    [finding] = corruptions(objects)
    assert (finding.kind, finding.place) == (FindingKind.REORDERED, "audit/2026/08/01/000000000005.jsonl")
    assert THIRD in finding.text


def test_a_second_history_from_the_same_record_on_is_found():
    objects = MemoryObjects(CONTENT)
    before = CONTENT[SECOND].splitlines(keepends=True)[-1]
    objects.content["audit/2026/08/01/000000000005.jsonl"] = rehashed(
        CONTENT[THIRD].splitlines(keepends=True)[0], record_of(before).hash, actor="somebody else"
    )

    assert FindingKind.FORKED in kinds(objects)


def test_a_file_that_is_no_segment_is_found():
    objects = MemoryObjects({**CONTENT, "audit/2026/07/31/notes.txt": b"x"})

    [finding] = corruptions(objects)
    assert (finding.kind, finding.place) == (FindingKind.STRAY, "audit/2026/07/31/notes.txt")


def test_a_head_that_is_gone_is_found():
    objects = MemoryObjects(CONTENT)
    del objects.content[HEAD_KEY]

    [finding] = corruptions(objects)
    assert (finding.kind, finding.place) == (FindingKind.HEAD, HEAD_KEY)


@pytest.mark.parametrize(
    "change", [{"hash": "ab" * 32}, {"count": 9}, {"segment": THIRD}, {"marks": {}}, {"following": "x"}]
)
def test_a_head_that_was_written_anew_with_other_values_is_found(change):
    objects = MemoryObjects(CONTENT)
    log_over(objects).append([make_draft(0, AuditEvent.ORDER.value, number=1)])
    head = head_of(objects.content[HEAD_KEY])
    objects.content[HEAD_KEY] = replace(head, **change).line

    [finding] = corruptions(objects)
    assert (finding.kind, finding.place) == (FindingKind.HEAD, HEAD_KEY)


def test_a_head_that_speaks_of_a_record_within_a_segment_is_found():
    objects = MemoryObjects(CONTENT)
    record = record_of(CONTENT[LAST].splitlines(keepends=True)[0])
    head = head_of(CONTENT[HEAD_KEY])
    within = replace(head, sequence=record.sequence, count=record.sequence, hash=record.hash)
    objects.content[HEAD_KEY] = within.line

    assert kinds(objects) == [FindingKind.HEAD]


def test_log_and_head_that_were_both_put_back_are_found_by_an_anchor_that_was_kept_elsewhere():
    anchor = Anchor.of(head_of(CONTENT[HEAD_KEY]).anchor)
    earlier = MemoryObjects()
    for size, begun in ((1, 0), (3, 1)):
        log_over(earlier).append(drafts(size, first=begun))

    assert kinds(earlier) == []
    assert kinds(earlier, anchor=anchor) == [FindingKind.TRUNCATED]
    assert kinds(MemoryObjects(CONTENT), anchor=anchor) == []


def test_a_log_that_was_written_anew_as_a_whole_is_found_by_an_anchor():
    anew = MemoryObjects()
    for size in SIZES:
        log_over(anew).append(drafts(size, first=7))
    kept = Anchor.of(f"4:{record_of(CONTENT[SECOND].splitlines(keepends=True)[-1]).hash[:8]}")

    assert kinds(anew) == []
    [finding] = corruptions(anew, anchor=kept)
    assert (finding.kind, finding.place) == (FindingKind.EDITED, f"{SECOND}:3")


@pytest.mark.parametrize("text", ["", "7", "7:", "x:abcdef01", "7:abc", "7:ABCDEF01", "7:" + "a" * 65])
def test_a_text_that_is_no_anchor_is_refused(text):
    with pytest.raises(InvalidInput, match="an anchor is a sequence and a hash"):
        Anchor.of(text)


def days():
    objects = MemoryObjects()
    for day in range(4):
        log_over(objects, NOON + timedelta(days=day)).append(drafts(2))
    return objects


def test_a_part_of_the_log_is_verified_from_a_day_on():
    objects = days()
    look = LogVerification(objects, since=date(2026, 8, 2))

    assert list(look.findings()) == []
    assert look.records == 5
    del objects.content[segment_keys(objects)[0]]
    assert kinds(objects, since=date(2026, 8, 2)) == []
    assert kinds(objects) == [FindingKind.REMOVED]


def test_a_log_whose_older_folders_were_moved_away_is_verified_from_the_first_day_that_is_left():
    objects = days()
    moved, *left = segment_keys(objects)
    del objects.content[moved]
    first_day = date.fromisoformat(day_of(left[0]))

    look = LogVerification(objects, since=first_day)

    assert list(look.findings()) == []
    assert look.segments == len(left)
    assert kinds(objects) == [FindingKind.REMOVED]


@pytest.mark.parametrize("since", [date(2026, 8, 2), date(2027, 1, 1)])
def test_an_anchor_before_the_part_that_is_read_is_refused_and_not_passed_over(since):
    true = [record for key in segment_keys(days()) for record in map(record_of, days().content[key].splitlines(True))]
    anew = MemoryObjects()
    for day in range(4):
        log_over(anew, NOON + timedelta(days=day)).append(drafts(2, first=7))
    anchors = [Anchor(record.sequence, record.hash) for record in true]

    assert kinds(anew, since=since) == []
    assert kinds(anew, anchor=anchors[1]) == [FindingKind.EDITED]
    with pytest.raises(InvalidInput, match="the anchor is record 2, before what is read, which begins with record"):
        kinds(anew, since=since, anchor=anchors[1])
    assert kinds(anew, since=since, anchor=anchors[-1]) == [FindingKind.EDITED]
    assert kinds(days(), since=since, anchor=anchors[-1]) == []


@pytest.mark.parametrize("since", [date(2026, 8, 2), date(2026, 8, 3), date(2027, 1, 1)])
def test_an_end_that_was_cut_off_is_found_in_a_part_of_the_log_too(since):
    objects = days()
    del objects.content[segment_keys(objects)[-1]]

    assert kinds(objects, since=since) == [FindingKind.TRUNCATED]


def test_a_part_of_the_log_before_which_the_head_stands_is_whole():
    objects = days()
    log_over(objects, NOON + timedelta(days=4)).append(drafts(1))
    assert kinds(objects, since=date(2026, 8, 4)) == []


def test_a_writer_beside_the_look_is_no_finding():
    objects = MemoryObjects(CONTENT)
    look = LogVerification(objects)
    read, get = [], objects.get

    def interrupted(key):
        if key == SECOND and not read:
            read.append(key)
            log_over(objects).append(drafts(2))
        return get(key)

    objects.get = interrupted
    assert list(look.findings()) == []


def test_a_big_log_is_verified_in_the_memory_of_a_segment():
    objects = MemoryObjects()
    log_over(objects).append(drafts(MANY))
    look = LogVerification(objects)
    tracemalloc.start()
    found = list(look.findings())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert found == []
    assert (look.records, look.segments) == (MANY, -(-MANY // MOST_RECORDS))
    assert peak < 6 * 2**20

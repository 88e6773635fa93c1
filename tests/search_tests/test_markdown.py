"""Names, questions and titles in Markdown and in spreadsheets: shown, and never obeyed."""

from __future__ import annotations

import pytest

from search.command_line.markdown import code, fenced, for_spreadsheets, md


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("&lt;b>", "&amp;lt;b>"),
        ("[here](javascript:alert(1))", "[here\\](javascript:alert(1))"),
        ("![x](http://evil.example/p.png)", "\\![x\\](http://evil.example/p.png)"),
        ("[x]: http://evil.example", "[x\\]: http://evil.example"),
        ("# Not a title", "\\# Not a title"),
        ("> quoted", "\\> quoted"),
        ("- item", "\\- item"),
        ("1. first", "1\\. first"),
        ("a | b\nc", "a \\| b c"),
        ("`rm`, *b*, ~~c~~, $d$", "\\`rm\\`, \\*b\\*, \\~\\~c\\~\\~, \\$d\\$"),
        ("_a_ pocket_ner", "\\_a\\_ pocket_ner"),
        ("helps, +1.3 [+0.2, +2.4] points", "helps, +1.3 [+0.2, +2.4] points"),
    ],
)
def test_text_means_nothing_but_itself(text: str, shown: str) -> None:
    assert md(text) == shown


def test_code_ends_where_it_ends() -> None:
    assert code("a`b``c") == "```a`b``c```"
    assert code("`") == "`` ` ``"
    block = fenced("echo '\n```\n# out'", "sh").splitlines()
    assert block[0] == "````sh"
    assert block[-1] == "````"


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\uff1d1", "'\uff1d1"),
        ("-0.5", "-0.5"),
        ("+2.31", "+2.31"),
        ("-1e-05", "-1e-05"),
        ("swa", "swa"),
        (-0.5, -0.5),
        (None, None),
    ],
)
def test_a_cell_is_no_formula_and_numbers_stay(cell: object, kept: object) -> None:
    assert for_spreadsheets(cell) == kept

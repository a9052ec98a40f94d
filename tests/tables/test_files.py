"""Tables as spreadsheets, databases and people write them: read as they are meant, or refused in one line.

Whatever had to be assumed is said in a notice.
"""
import bz2
import gzip
import io
import lzma
import time
import typing
import zipfile

import numpy as np
import pandas
import pytest

from data_loader.table_file import read_table, refuse_missing
from data_loader.table_text import TableFormat
from misc.errors import UserError

SEMICOLONS = "fields are separated by semicolons (key separator)"
COMMA = "the comma is the decimal mark (key decimal)"
HEADER = "the first line is taken for a header (key header)"
NO_VALUE = None


class Good(typing.NamedTuple):
    """A table that is read."""

    content: typing.Union[str, bytes]
    names: typing.Optional[typing.Sequence[str]]
    first: typing.Sequence[typing.Any]           # the first row; None: a missing value
    notices: typing.Sequence[str] = ()           # what each notice says
    form: typing.Dict[str, typing.Any] = {}      # what the config says


READ = {
    # Separators
    "commas": Good("a,b,y\n1.5,2,3\n4,5,6\n", "aby", [1.5, 2, 3]),
    "semicolons": Good("a;b;y\n1.5;2;3\n4;5;6\n", "aby", [1.5, 2, 3], [SEMICOLONS]),
    "bars": Good("a | b | y\n1.5 | 2 | 3\n4 | 5 | 6\n", "aby", [1.5, 2, 3], ["separated by bars"]),
    "tabs": Good("a\tb\ty\n1.5\t2\t3\n4\t5\t6\n", "aby", [1.5, 2, 3]),
    "tabs around words of several parts": Good(
        "street\tb\ty\nHigh Street\t2\t3\nOld Lane\t5\t6\n", ["street", "b", "y"], ["High Street", 2, 3],
        ["separated by tabs"]),
    "white space": Good("a  b   y\n1.5 2  3\n4   5 6\n", "aby", [1.5, 2, 3]),
    "spaces after commas": Good("a, b, y\n1.5, 2, 3\n4, 5, 6\n", "aby", [1.5, 2, 3]),
    "words with commas between semicolons": Good(
        "a;b;y\nx, y;2;3\nz;5;6\n", "aby", ["x, y", 2, 3], [SEMICOLONS]),
    "the line by which Excel is told the separator": Good(
        "sep=;\na;b;y\n1.5;2;3\n4;5;6\n", "aby", [1.5, 2, 3], [SEMICOLONS]),
    "a separator that the config gives": Good(
        "a;b;y\nx y;2;3\nz;5;6\n", "aby", ["x y", 2, 3], form={"separator": ";"}),
    # Quotes and line ends
    "quotes": Good('"a","b","y"\n"1.5","2","3"\n"4","5","6"\n', "aby", [1.5, 2, 3]),
    "quoted separators": Good('"a, in m",b,y\n"x, y",2,3\nz,5,6\n', ["a, in m", "b", "y"], ["x, y", 2, 3]),
    "doubled quotes": Good('a,b,y\n"5"" pipe",2,3\nz,5,6\n', "aby", ['5" pipe', 2, 3]),
    "decimal commas and words between spaces": Good("a b\n1,5 red\n2 blue\n", "ab", [1.5, "red"], [COMMA]),
    "the same without a header": Good("1,5 red\n2,5 blue\n", None, [1.5, "red"], [COMMA], {"separator": " "}),
    "words of two parts between commas": Good("4,so red,3\n2,so blue,4\n", None, [4, "so red", 3]),
    "inches": Good('a,b,y\n5" pipe,2,3\n6" pipe,5,6\n', "aby", ['5" pipe', 2, 3]),
    "quoted line ends": Good('a,b,y\n"x\ny",2,3\nz,5,6\n', "aby", ["x\ny", 2, 3]),
    "quoted line ends between semicolons": Good(
        'a;b;y\n"x\n\ny";2;3\n"z;\n";5;6\n', "aby", ["x\n\ny", 2, 3], [SEMICOLONS]),
    "a quoted line end in the header": Good('"a\n(m)";b;y\n1.5;2;3\n4;5;6\n', ["a (m)", "b", "y"], [1.5, 2, 3],
                                            [SEMICOLONS]),
    "Windows' line ends": Good("a,b,y\r\n1.5,2,3\r\n4,5,6\r\n", "aby", [1.5, 2, 3]),
    "old Macs' line ends": Good("a,b,y\r1.5,2,3\r4,5,6\r", "aby", [1.5, 2, 3]),
    "no line end at the end": Good("a,b,y\n1.5,2,3\n4,5,6", "aby", [1.5, 2, 3]),
    "blank lines": Good("\na,b,y\n\n1.5,2,3\n\n4,5,6\n\n\n", "aby", [1.5, 2, 3]),
    "comments first": Good("# made by a program\n#\na,b,y\n1.5,2,3\n4,5,6\n", "aby", [1.5, 2, 3]),
    # Encodings
    "UTF-8 with a byte-order mark": Good("größe,b,y\n1.5,2,3\n4,5,6\n".encode("utf-8-sig"), ["größe", "b", "y"],
                                         [1.5, 2, 3]),
    "a byte-order mark that utf-8 does not expect": Good(
        "a,b,y\n1.5,2,3\n4,5,6\n".encode("utf-8-sig"), "aby", [1.5, 2, 3], form={"encoding": "utf-8"}),
    "UTF-16": Good("größe,b,y\nü,2,3\n4x,5,6\n".encode("utf-16"), ["größe", "b", "y"], ["ü", 2, 3]),
    "UTF-16 without a mark": Good("a,b,y\n1.5,2,3\n4,5,6\n".encode("utf-16-le"), "aby", [1.5, 2, 3],
                                  form={"encoding": "utf-16-le"}),
    "Windows' umlauts": Good("größe,b,y\nüß€,2,3\nx,5,6\n".encode("cp1252"), ["größe", "b", "y"], ["üß€", 2, 3],
                             ["is not written in UTF-8 and is read as cp1252 (key encoding)"]),
    "bytes that mean nothing in cp1252": Good("é\x81,b,y\nü,2,3\nx,5,6\n".encode("latin-1"), ["é\x81", "b", "y"],
                                              ["ü", 2, 3], ["is read as latin-1 (key encoding)"]),
    "an encoding that the config gives": Good("größe,b,y\nЖ,2,3\nx,5,6\n".replace("ö", "o").replace("ß", "s").encode(
        "cp1251"), ["grosse"[:4] + "e", "b", "y"], ["Ж", 2, 3], form={"encoding": "cp1251"}),
    "names of all scripts": Good("面积,δ,🏠\n1.5,2,3\n4,5,6\n", ["面积", "δ", "🏠"], [1.5, 2, 3]),
    # Numbers
    "decimal commas between semicolons": Good("a;b;y\n1,5;2;3,25\n4;5;6\n", "aby", [1.5, 2, 3.25],
                                              [SEMICOLONS, COMMA]),
    "decimal commas between tabs": Good("a\tb\ty\n1,5\t2\t3,25\n4\t5\t6\n", "aby", [1.5, 2, 3.25],
                                        ["separated by tabs", COMMA]),
    "decimal commas between spaces": Good("a b y\n1,5 2 3,25\n4 5 6\n", "aby", [1.5, 2, 3.25], [COMMA]),
    "decimal commas in quotes between commas": Good('a,b,y\n"1,5",2,"3,25"\n"4,0",5,"6,5"\n', "aby", [1.5, 2, 3.25],
                                                    form={"decimal": ","}),
    "a decimal comma after a zero": Good("a;b;y\n0,125;2;3\n1,234;5;6\n", "aby", [0.125, 2, 3], [SEMICOLONS, COMMA]),
    "a comma that the config explains": Good("a;b;y\n1,234;2;3\n4;5;6\n", "aby", [1.234, 2, 3], [SEMICOLONS],
                                             {"decimal": ","}),
    "exponents and signs": Good("a,b,y\n+1.5e3,-.5,3.\n4,5,6\n", "aby", [1500, -0.5, 3]),
    "true and false": Good("a,b,y\nTrue,2,no\nFALSE,5,yes\n", "aby", [1, 2, "no"],
                           ["true and false are read as 1 and 0: column 1 ('a')"]),
    "true and false among numbers only": Good(
        "1.5,true,3\n4,false,6\n", None, [1.5, 1, 3], ["true and false are read as 1 and 0: column 2"]),
    # Missing values
    "missing numbers": Good("a,b,y\n,NA,3\n4,5,6\n", "aby", [NO_VALUE, NO_VALUE, 3]),
    "missing words": Good("a,b,y\n?,2,n/a\nx,5,z\n", "aby", [NO_VALUE, 2, NO_VALUE]),
    "marks that the config gives": Good("a,b,y\n-999,unknown,3\n4,5,6\n", "aby", [NO_VALUE, NO_VALUE, 3],
                                        form={"missing_marks": ("-999", "Unknown")}),
    "empty fields between tabs that the config allows": Good(
        "a\tb\ty\n\t2\t3\n4\t\t6\n", "aby", [NO_VALUE, 2, 3], form={"separator": "\t"}),
    # Columns and headers
    "a separator at the end of every line": Good("a;b;y;\n1.5;2;3;\n4;5;6;\n", "aby", [1.5, 2, 3], [
        SEMICOLONS, "column 4, at the end, without name and values: left out"]),
    "separators at the end of rows only": Good("a,b,y\n1.5,2,3,,\n4,5,6,,\n", "aby", [1.5, 2, 3], [
        "column 4, column 5, at the end, without name and values: left out"]),
    "separators at the end without a header": Good("1.5,2,3,\n4,5,6,\n", None, [1.5, 2, 3], [
        "column 4, at the end, without name and values: left out"]),
    "pandas' index": Good(",a,y\n5,1.5,3\n0,4,6\n", "ay", [1.5, 3], ["column 1 has no name and holds a different"]),
    "R's names of rows": Good('"a" "y"\n"1" 1.5 3\n"2" 4 6\n', "ay", [1.5, 3],
                              ["column 1 has no name and holds a different"]),
    "no header": Good("1.5,2,3\n4,5,6\n", None, [1.5, 2, 3]),
    "a header of years": Good("2019,2020,y\n1.5,2,3\n4,5,6\n", ["2019", "2020", "y"], [1.5, 2, 3],
                              form={"header": True}),
    "a commented header that the config announces": Good("# a b y\n1.5 2 3\n4 5 6\n", "aby", [1.5, 2, 3],
                                                         form={"header": True}),
    "words without a header": Good("x,u\nz,v\nx,v\n", None, ["x", "u"]),
    "words under a header": Good("a,b\nx,u\nz,v\nx,v\n", "ab", ["x", "u"], [HEADER]),
    "words that the config calls rows": Good("a,b\nx,u\nz,v\n", None, ["a", "b"], form={"header": False}),
    "one row": Good("a,b,y\n1.5,2,3\n", "aby", [1.5, 2, 3]),
    "a count of the rows": Good("id,b,y\n1,0.5,3\n2,5,6\n", ["id", "b", "y"], [1, 0.5, 3]),
}


def test_codes_with_leading_zeros(read):
    """Among numbers only, and in a table with words; numbers below one and dates are none."""
    numbers = read("zip,b,c\n1001,0.5,00\n00123,05.5,7\n00124,0,8\n")
    words = read("w;zip;c;d\nx;1001;0,5;2020-01-02\ny;00123;1,5;2020-01-03\n")
    assert numbers.codes == ((0, "00123"), (2, "00")) and words.codes == ((1, "00123"),)
    assert numbers.frame.iloc[1].tolist() == [123, 5.5, 7]
    assert read("zip,b\n00123,1\n", words_in=["zip"]).codes == () and read("# 00\na b\n10 0.0\n").codes == ()
    assert read(",zip,b\n0,00123,1\n1,7,2\n").codes == ((0, "00123"),)


@pytest.mark.parametrize("name", READ)
def test_is_read(read, name):
    case = READ[name]
    table = read(case.content, **case.form)
    assert table.names == (None if case.names is None else tuple(case.names))
    first = [None if pandas.isna(value) else value for value in table.frame.iloc[0]]
    assert first == list(case.first)
    assert len(table.notices) == len(case.notices), table.notices
    for notice, words in zip(table.notices, case.notices):
        assert notice.startswith("note: houses.csv") and words in notice


class Bad(typing.NamedTuple):
    """A table that is refused."""

    content: typing.Union[str, bytes]
    message: str                             # what stands after the path
    form: typing.Dict[str, typing.Any] = {}  # what the config says


CHOICE = "may be a number with decimals or with thousands: set decimal to \",\" or write thousands without a comma"


def like_numbers(column, word):
    """What is said of a column of fields such as `word`."""
    return (f" column {column}: fields such as '{word}' look like numbers with thousands separators, signs or units: "
            "write plain numbers, or list the column in categories")


REFUSED = {
    "nothing": Bad("", " is empty"),
    "blank lines only": Bad("\n  \n\n", " is empty"),
    "comments only": Bad("# a b\n", " is empty"),
    "a header only": Bad("a,b,y\n", " has no rows"),
    "a workbook": Bad(b"PK\x03\x04\x00\x00", " is not a text file (it holds NUL characters): save the table as CSV"),
    "bytes that are not in the encoding given": Bad(
        "ü,b\n1,2\n".encode("cp1252"), " is not a text file in utf-8: give its encoding with the key encoding",
        {"encoding": "utf-8"}),
    "UTF-8 given as UTF-16": Bad("a,b\n1,2\n3,4\n", " is not a text file in utf-16: give its encoding",
                                 {"encoding": "utf-16"}),
    "an encoding that does not exist": Bad("a,b\n1,2\n", " is not a text file in klingon: give its encoding",
                                           {"encoding": "klingon"}),
    "an encoding that is none of text": Bad("a,b\n1,2\n", " is not a text file in hex: give its encoding",
                                            {"encoding": "hex"}),
    "a comma of thousands or decimals": Bad("a;b\n1,234;2\n5,678;3\n", ": '1,234' " + CHOICE),
    "a comma of thousands or decimals between tabs": Bad("a\tb\n1,234\t2\n", ": '1,234' " + CHOICE),
    "a comma of thousands or decimals between spaces": Bad("a b\n1,234 2\n", ": '1,234' " + CHOICE),
    "commas and spaces": Bad("1,5 red\n2,5 blue\n", ": '2,5' may be a number with decimals or two fields: set"),
    "a decimal comma in quotes in the first row": Bad('"1,5",x\n2,y\n', " line 1 column 1: '1,5' is not a number"),
    "thousands with decimals": Bad('a,b\n"1,234.5",2\n"2,345.6",3\n', like_numbers("1 ('a')", "1,234.5")),
    "German thousands": Bad("a;b\n1.234,5;2\n2.345,6;3\n", like_numbers("1 ('a')", "1.234,5")),
    "thousands among numbers": Bad('a,b\n1,2\n"1,234",3\n', " line 3 column 1 ('a'): '1,234' is not a number: write it "
                                   "without thousands separators, signs and units"),
    "thousands with spaces": Bad("a;b\n1 000;2\n2 000;3\n", like_numbers("1 ('a')", "1 000")),
    "decimal commas in quotes": Bad('a,b\n"1,5",2\n"2,5",3\n', " column 1 ('a'): fields such as '1,5' look like "
                                    "numbers with a decimal comma or thousands: set decimal to \",\""),
    "percent": Bad("a,b\n10%,2\n20 %,3\n", like_numbers("1 ('a')", "10%")),
    "currencies": Bad("a,b\n1,$2.50\n2,$3\n", like_numbers("2 ('b')", "$2.50")),
    "units": Bad("10 km,2\n11 km,3\n", like_numbers("1", "10 km")),
    "a unit among numbers": Bad("a,b\n10,2\n11 km,3\n", " line 3 column 1 ('a'): '11 km' is not a number: write it "
                                "without"),
    "typographic signs": Bad("a,b\n\u22121,2\n\u22122,3\n", like_numbers("1 ('a')", "\u22121")),
    "negative numbers in brackets": Bad("a,b\n(1),2\n(2),3\n", like_numbers("1 ('a')", "(1)")),
    "single quotes": Bad("a,b\n'1',2\n'3',4\n", " column 1 ('a'): fields such as \"'1'\" look like numbers in single"),
    "Excel's text": Bad('a;b\n="1";2\n="3";4\n', " column 1 ('a'): fields such as '=\"1\"' look like numbers in"),
    "infinity": Bad("a,b\n1,2\n-inf,3\n", " line 3 column 1 ('a'): -inf is not finite; remove or impute it"),
    "a number beyond float64": Bad("a,b\n1,2\n1e400,3\n", " line 3 column 1 ('a'): 1e400 is not finite"),
    "a word among numbers": Bad("a,b\n1,2\n3,x\n", " line 3 column 2 ('b'): 'x' is not a number, as other fields of "
                                "this column are: correct it, or list it in missing_marks if it stands for a missing "
                                "value, or the column in categories"),
    "true among numbers": Bad("a,b\nTrue,2\n0,3\n", " line 2 column 1 ('a'): 'True' stands among numbers (a column of "
                              "true and false holds no other values)"),
    "a number among true and false": Bad("True,2\nFalse,3\n1,4\n", " line 1 column 1: 'True' stands among numbers"),
    "names and years": Bad("name,2019,2020\nx,1.5,2\ny,2,3\n", " line 1: these words and numbers may be a row or the "
                           "names of the columns: set header to true or false"),
    "column numbers or a row": Bad("0,1,2\n3,4,5\n", " line 1: these numbers may be a row or pandas' names"),
    "a name twice": Bad("a,b,a\n1,2,3\n", " line 1 names 2 columns 'a': give every column a name of its own"),
    "a name too few": Bad("a,b\n1.5,2,3\n", " line 1 names 2 columns, but the rows have 3"),
    "a name too many": Bad("a,b,c,y\n1,2,3\n", " line 1 names 4 columns, but the rows have 3"),
    "a nameless column that is no index": Bad(",b,y\n1.5,2,3\n", ": column 1 has no name, and is not an index"),
    "a nameless last column": Bad("a,b,\n1,2,3\n", ": column 3 has no name, and is not an index"),
    "a short line": Bad("a;b;y\n1;2;3\n4;5\n", " line 3: 2 columns where the lines before have 3"),
    "a long line": Bad("a,b,y\n1,2,3\n4,5,6,7\n", " line 3: 4 columns where the lines before have 3"),
    "a long line of words": Bad("a,b,y\nx,2,3\nz,5,6,7\n", " line 3: 4 columns where the lines before have 3"),
    "a comment between rows": Bad("a,b\n1,2\n# three\n3,4\n", " line 3: 1 columns where the lines before have 2"),
    "a separator after some rows": Bad("a,b\n1,2,\n3,4\n", " line 3: 2 columns where the lines before have 3"),
    "a quote that is not closed": Bad('a,b,y\n1,2,3\n4,5,"6\n', " line 3: a quote is opened and never closed"),
    "a quote that swallows rows": Bad('a,b,y\n1,2,"3\n4,5,6\n', " line 2: a quote is opened and never closed"),
    "a quote that joins rows": Bad('a,b,y\n1,2,3\n4,"5,6\n7,8",9,10\n', " line 4: 4 columns where the lines before "
                                   "have 3 (a quoted field goes on over ends of lines: is a quote not closed?)"),
    "a title": Bad("All my houses\n\na;b\n1;2\n", " line 1: there are no semicolons, which separate the fields after "
                   "it: remove this line if it is a title"),
    "a separator that cannot be one": Bad("a,b\n1,2\n", ": separator '\"' cannot separate fields", {"separator": '"'}),
    "a header that the config denies": Bad("a,b\n1,2\n3,4\n", " line 1 column 1: 'a' is not a number",
                                           {"header": False}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_in_one_line(write, name):
    case = REFUSED[name]
    path = write(case.content)
    with pytest.raises(UserError) as error:
        read_table(path, TableFormat(**case.form))
    assert str(error.value).startswith(str(path) + case.message), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["a;b\n1;2\n", "a\n1\n2\n", "1\n2\n"])
def test_one_column_is_no_table(refused, content):
    message = refused(content, separator="|" if ";" in content else None)
    assert "there is one column only; inputs and, in the last column, a target are needed (set separator if" in message


@pytest.mark.parametrize("content, place", [
    ("a,b,y\n1,2,3\n4,,6\n", "line 3 column 2"), ("a,b,y\n1,2,3\n4,NA,6\n", "line 3 column 2"),
    (",a,y\n0,1.5,2\n1,,4\n", "line 3 column 2"), ('a,b,y\n"x\nz",2,3\nx,5,\n', "line 4 column 3")])
def test_a_missing_value_has_a_line_and_a_column(read, content, place):
    """Lines are those of the file; a quoted field may take several of them, and an index column counts."""
    with pytest.raises(UserError, match=f"houses.csv {place}: .*; remove the row or impute the value \\(key missing"):
        refuse_missing(read(content))


TEXT = "größe;farbe;y\n1,5;rot;3\n2,5;grün;4,25\n"


def zipped(text, **more):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {"houses.csv": text, **more}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix, compress", [
    (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zip", zipped), (".GZ", gzip.compress),
    (".zip", lambda data: zipped(data, **{"__MACOSX/houses.csv": b"\x00"}))])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_compressed_files(write, suffix, compress, encoding):
    table = read_table(write(compress(TEXT.encode(encoding)), "houses.csv" + suffix))
    assert table.names == ("größe", "farbe", "y")
    assert table.frame.to_numpy().tolist() == [[1.5, "rot", 3], [2.5, "grün", 4.25]]


@pytest.mark.parametrize("suffix, content, message", [
    (".gz", b"a,b\n1,2\n", " cannot be read: "), (".bz2", b"a,b\n1,2\n", " cannot be read: "),
    (".xz", b"a,b\n1,2\n", " cannot be read: "), (".zip", b"a,b\n1,2\n", " cannot be read: "),
    (".gz", lambda: gzip.compress(b"a,b\n1,2\n" * 9)[:-12], " cannot be read: "),  # made now: it holds the time
    (".zip", lambda: zipped(b"a,b\n", **{"more.csv": b"a,b\n"}), " holds 2 files: unpack the one that is the table")])
def test_damaged_archives(write, suffix, content, message):
    path = write(content() if callable(content) else content, "houses.csv" + suffix)
    with pytest.raises(UserError) as error:
        read_table(path)
    assert str(error.value).startswith(str(path) + message) and "\n" not in str(error.value)


def test_columns_are_numbered_without_the_index(read):
    """Categories that the config gives by number or by name are found beside an index that pandas or R wrote."""
    rows = "1 5 2 3\n2 6 3 4\n"
    for words_in in ([2], ["b"]):
        for content in ("a b y\n" + rows, ",a,b,y\n" + rows.replace(" ", ",")):
            assert read(content, words_in).frame.iloc[0].tolist() == [5, "2", 3]
    assert read("a,b,y,\n1,2,3,\n4,5,6,\n", [-1]).frame.iloc[0].tolist() == [1, 2, "3"]
    assert read("# a b y\n1 2 3\n4 5 6\n", ["b"]).frame.iloc[0].tolist() == [1, "2", 3]


def test_a_column_that_is_not_used_may_hold_anything(split_table):
    content = "a,note,y\n" + "".join(f"{row * 0.5},{row if row % 3 else 'see below'},{row}\n" for row in range(20))
    assert split_table(content, drop=["note"]).inputs[:, 0].tolist() == [row * 0.5 for row in range(20)]


def test_five_thousand_columns(write, rng):
    values = rng.standard_normal((30, 5000)).round(6)
    frame = pandas.DataFrame(values, columns=[f"column {number}" for number in range(5000)])
    path = write(frame.to_csv(index=False))
    start = time.perf_counter()
    assert np.array_equal(read_table(path).values, values)
    frame["word"] = "x"
    path = write(frame.to_csv(index=False))
    assert read_table(path).frame.shape == (30, 5001)
    assert time.perf_counter() - start < 30.0

"""For Python 3.7 only: reads a DataFrame that newer versions of Python and pandas have pickled."""
import lzma
import pathlib
import pickle
import struct
import typing

if typing.TYPE_CHECKING:
    import pandas

# NOTE: the backport pickle5 is no alternative: where it is installed, joblib uses it, and its workers then fail.


def read_frame(path: pathlib.Path) -> "pandas.DataFrame":
    """Returns the frame in an xz-compressed pickle of protocol 5 without out-of-band buffers."""
    with lzma.open(str(path)) as handle:
        return _Protocol5Unpickler(handle).load()


_Unpickler: typing.Any = pickle._Unpickler  # Python's slow unpickler, which can be extended; private, hence untyped


class _Protocol5Unpickler(_Unpickler):
    """Adds the opcodes of protocol 5, and a function that pandas 1.3 names differently, to Python's unpickler."""

    dispatch: typing.Dict[int, typing.Any] = dict(_Unpickler.dispatch)

    def load_proto(self) -> None:
        self.proto = self.read(1)[0]

    def load_bytearray8(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    dispatch[pickle.PROTO[0]] = load_proto
    dispatch[0x96] = load_bytearray8

    def find_class(self, module: str, name: str) -> typing.Any:
        if (module, name) == ("pandas._libs.internals", "_unpickle_block"):
            from pandas.core.internals.blocks import new_block

            return lambda values, placement, ndim: new_block(values, placement, ndim=ndim)
        return super().find_class(module, name)

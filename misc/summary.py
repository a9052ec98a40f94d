"""Writes scalars, histograms and images for TensorBoard from Python numbers, without a placeholder or op per tag."""
import io
import os
import pathlib
import platform
import time
import typing

import numpy as np
import tensorflow.compat.v1 as tf

if typing.TYPE_CHECKING:
    import matplotlib.figure


class SummaryWriter:
    """Collects events, and writes them to one folder when `flush` or `close` is called.

    If writing fails (it raises OSError or one of TensorFlow's errors), the events are kept for the next time.

    Args:
      folder: where the event file goes.
      graph: shown under Graphs, if given.
      resumed_at: the step from which a resumed run continues; TensorBoard drops what an interrupted run wrote beyond
        it.
    """

    def __init__(self, folder: pathlib.Path, graph: typing.Optional[tf.Graph] = None,
                 resumed_at: typing.Optional[int] = None):
        self._folder, self._n_files = pathlib.Path(folder), 0
        self._path = self._folder  # of the event file, once there is one
        self._file: typing.Any = None
        self._pending: typing.List[bytes] = []
        if graph is not None:
            self._collect(graph_def=graph.as_graph_def(add_shapes=True).SerializeToString())
        if resumed_at is not None:
            self._collect(resumed_at + 1, session_log=tf.SessionLog(status=tf.SessionLog.START))

    def scalars(self, values: typing.Mapping[str, float], step: int) -> None:
        """Adds {tag: number} at `step`."""
        self._add([tf.Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()], step)

    def histogram(self, tag: str, array: np.ndarray, step: int, n_bins: int = 30) -> None:
        """Adds the distribution of the entries of `array`."""
        flat = np.asarray(array, np.float64).ravel()
        counts, edges = np.histogram(flat, bins=n_bins)
        proto = tf.HistogramProto(
            min=flat.min(), max=flat.max(), num=flat.size, sum=flat.sum(), sum_squares=np.square(flat).sum(),
            bucket_limit=edges[1:].tolist(), bucket=counts.tolist(),
        )
        self._add([tf.Summary.Value(tag=tag, histo=proto)], step)

    def image(self, tag: str, array: np.ndarray, step: int) -> None:
        """Adds an image: uint8 [height, width, 1 or 3]."""
        from PIL import Image

        content = io.BytesIO()
        Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(content, "PNG")
        self._image(tag, content.getvalue(), array.shape[:2], step)

    def figure(self, tag: str, figure: "matplotlib.figure.Figure", step: int) -> None:
        """Adds a matplotlib Figure."""
        from PIL import Image

        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=100, bbox_inches="tight")
        self._image(tag, content.getvalue(), Image.open(content).size[::-1], step)

    def _image(self, tag: str, png: bytes, size: typing.Tuple[int, ...], step: int) -> None:
        image = tf.Summary.Image(height=size[0], width=size[1], encoded_image_string=png)
        self._add([tf.Summary.Value(tag=tag, image=image)], step)

    def hyper_parameters(self, values: typing.Mapping[str, object]) -> None:
        """Adds {name: value}, which TensorBoard shows on its HParams page, beside this folder's curves."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # the public api imports Keras

        simple = {name: value if isinstance(value, (bool, int, float, str)) else str(value)
                  for name, value in values.items()}
        proto = hparams_pb(simple)
        self._collect(summary=tf.Summary.FromString(proto.SerializeToString()))

    def _add(self, values: typing.List[tf.Summary.Value], step: int) -> None:
        self._collect(step, summary=tf.Summary(value=values))

    def _collect(self, step: int = 0, **content: typing.Any) -> None:
        self._pending.append(tf.Event(wall_time=time.time(), step=int(step), **content).SerializeToString())

    def flush(self) -> None:
        """Writes the collected events."""
        try:
            self._write()
        except Exception:
            self._file = None  # it may end in half a record, so the next try begins another file
            raise
        self._pending.clear()

    def _write(self) -> None:
        if self._file is not None and not self._path.is_file():  # the folder was deleted
            self._file = None
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{int(time.time()):010d}.{platform.node()}.{os.getpid()}.{self._n_files}"
            self._n_files += 1
            self._path = self._folder / name
            self._file = tf.python_io.TFRecordWriter(str(self._path))
            self._file.write(tf.Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        for event in self._pending:
            self._file.write(event)
        self._file.flush()

    def close(self) -> None:
        """Writes the collected events and closes the file."""
        self.flush()
        self._file.close()
        self._file = None

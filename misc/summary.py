"""TensorBoard scalars, histograms and pictures from Python numbers: no placeholder or op per tag."""
import io

import numpy as np
import tensorflow.compat.v1 as tf


class SummaryWriter:
    """Writes events to one folder.

    Args:
      folder: where the event file goes.
      graph: shown under Graphs, if given.
      resumed_at: the step a resumed run continues from; TensorBoard drops what an
        interrupted run wrote beyond it.
    """

    def __init__(self, folder, graph=None, resumed_at=None):
        self._writer = tf.summary.FileWriter(str(folder), graph=graph)
        if resumed_at is not None:
            session_log = tf.SessionLog(status=tf.SessionLog.START)
            self._writer.add_session_log(session_log, global_step=resumed_at + 1)

    def scalars(self, values, step):
        """Writes {tag: number} at `step`."""
        self._add([tf.Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()], step)

    def histogram(self, tag, array, step, n_bins=30):
        """Writes the distribution of the entries of `array`."""
        flat = np.asarray(array, np.float64).ravel()
        counts, edges = np.histogram(flat, bins=n_bins)
        proto = tf.HistogramProto(
            min=flat.min(), max=flat.max(), num=flat.size, sum=flat.sum(), sum_squares=np.square(flat).sum(),
            bucket_limit=edges[1:].tolist(), bucket=counts.tolist(),
        )
        self._add([tf.Summary.Value(tag=tag, histo=proto)], step)

    def image(self, tag, array, step):
        """Writes a picture: uint8 [height, width, 1 or 3]."""
        from PIL import Image

        content = io.BytesIO()
        Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(content, "PNG")
        self._image(tag, content.getvalue(), array.shape[:2], step)

    def figure(self, tag, figure, step):
        """Writes a matplotlib Figure."""
        from PIL import Image

        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=100, bbox_inches="tight")
        self._image(tag, content.getvalue(), Image.open(content).size[::-1], step)

    def _image(self, tag, png, size, step):
        image = tf.Summary.Image(height=size[0], width=size[1], encoded_image_string=png)
        self._add([tf.Summary.Value(tag=tag, image=image)], step)

    def hyper_parameters(self, values):
        """Shows {name: value} on TensorBoard's HParams page, beside this folder's curves."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # its package's api would import Keras

        plain = {name: value if isinstance(value, (bool, int, float, str)) else str(value)
                 for name, value in values.items()}
        proto = hparams_pb(plain)
        self._writer.add_summary(tf.Summary.FromString(proto.SerializeToString()), global_step=0)

    def _add(self, values, step):
        self._writer.add_summary(tf.Summary(value=values), global_step=step)

    def flush(self):
        self._writer.flush()

    def close(self):
        self._writer.close()

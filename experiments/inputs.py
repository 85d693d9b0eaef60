"""Input pipelines of trials that share a process."""

import functools

import tensorflow as tf
from official.core import base_task


def without_autotune(task: base_task.Task) -> None:
    """Turns off tf.data's tuning of parallelism in the pipelines that a task builds.

    The thread that tunes a pipeline sleeps for as long as the pipeline has run, up to a minute, and
    whoever destroys the pipeline waits for it, with everything else in the process: after a trial
    of ten seconds, five are lost. The order of the elements is the same either way.

    Args:
        task: A task; its `build_inputs` is wrapped on the instance.
    """
    build = task.build_inputs

    @functools.wraps(build)
    def build_inputs(*args, **kwargs):
        inputs = build(*args, **kwargs)
        if not isinstance(inputs, tf.data.Dataset):
            return inputs
        options = tf.data.Options()
        options.autotune.enabled = False
        return inputs.with_options(options)

    task.build_inputs = build_inputs

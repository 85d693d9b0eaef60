"""Prepared data sets as Model Garden's own tasks read them."""

import numpy as np


def read_images(manifest, split, size=(8, 8)):
    """Reads a split through Model Garden's image classification task."""
    from official.vision.configs import image_classification as configs
    from official.vision.tasks import image_classification as tasks

    model = configs.ImageClassificationModel(
        num_classes=manifest.num_classes, input_size=[*size, 3]
    )
    task = tasks.ImageClassificationTask(configs.ImageClassificationTask(model=model))
    dataset = task.build_inputs(
        configs.DataConfig(
            input_path=str(manifest.path(split)),
            is_training=False,
            global_batch_size=50,
            drop_remainder=False,
            decode_jpeg_only=False,
            aug_crop=False,
        )
    )
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def read_sentences(manifest, split):
    """Reads a split through Model Garden's sentence prediction task."""
    from official.nlp.data.sentence_prediction_dataloader import SentencePredictionDataConfig
    from official.nlp.tasks import sentence_prediction as tasks

    task = tasks.SentencePredictionTask(tasks.SentencePredictionConfig())
    dataset = task.build_inputs(
        SentencePredictionDataConfig(
            input_path=str(manifest.path(split)),
            is_training=False,
            seq_length=manifest.seq_length,
            global_batch_size=16,
            drop_remainder=False,
        )
    )
    batches = list(dataset.as_numpy_iterator())
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}

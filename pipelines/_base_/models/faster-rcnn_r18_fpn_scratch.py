# The same model in the dialect of mmdet 3: pixels are normalized and padded on the device, not in the pipeline.
_base_ = "./faster_rcnn_r18_fpn_scratch.py"
model = dict(
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
)

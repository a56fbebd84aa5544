# A Faster R-CNN that learns circles, squares and triangles on a CPU in a few minutes, from scratch, out of S3.
# Checkpoints, the best one and the log go there, too. `asyncio-loader demo` makes the data and the bucket; for a bucket
# of your own change `yourbucket` below, and set endpoint_url unless the AWS settings of your environment say it.
_base_ = ["../_base_/models/faster_rcnn_r18_fpn_scratch.py", "../_base_/default_runtime.py"]

dataset_type = "CocoDataset"
data_root = "s3://yourbucket/synthetic/"
out_dir = "s3://yourbucket/runs/"
classes = ("circle", "square", "triangle")
file_client_args = dict(backend="aws", endpoint_url=None)
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
img_scale = (160, 160)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", img_scale=img_scale, keep_ratio=True),
    dict(type="RandomFlip", flip_ratio=0.5),
    dict(type="Normalize", **img_norm_cfg),
    dict(type="Pad", size_divisor=32),
    dict(type="DefaultFormatBundle"),
    dict(type="Collect", keys=["img", "gt_bboxes", "gt_labels"]),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="MultiScaleFlipAug",
        img_scale=img_scale,
        flip=False,
        transforms=[
            dict(type="Resize", keep_ratio=True),
            dict(type="RandomFlip"),
            dict(type="Normalize", **img_norm_cfg),
            dict(type="Pad", size_divisor=32),
            dict(type="ImageToTensor", keys=["img"]),
            dict(type="Collect", keys=["img"]),
        ],
    ),
]
data = dict(
    samples_per_gpu=4,
    workers_per_gpu=2,
    train=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file="annotations/instances_train2017.json",
        img_prefix="train2017/",
        classes=classes,
        pipeline=train_pipeline,
        file_client_args=file_client_args,
    ),
    val=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file="annotations/instances_val2017.json",
        img_prefix="val2017/",
        classes=classes,
        pipeline=test_pipeline,
        file_client_args=file_client_args,
    ),
)

# Objects of 20 to 60 px: finer levels of the pyramid tell circles from squares, and half of the samples show some.
model = dict(
    roi_head=dict(bbox_roi_extractor=dict(finest_scale=16)),
    train_cfg=dict(rcnn=dict(sampler=dict(num=64, pos_fraction=0.5))),
)

optimizer = dict(type="AdamW", lr=0.001, weight_decay=0.0001)
optimizer_config = dict(grad_clip=dict(max_norm=10.0, norm_type=2))
lr_config = dict(policy="step", by_epoch=False, warmup="linear", warmup_iters=20, warmup_ratio=0.1, step=[320])
runner = dict(type="IterBasedRunner", max_iters=400)
evaluation = dict(interval=400, metric="bbox", save_best="bbox_mAP_50", out_dir=out_dir)
checkpoint_config = dict(interval=160, max_keep_ckpts=2, out_dir=out_dir)
log_config = dict(interval=10, hooks=[dict(type="TextLoggerHook", out_dir=out_dir)])
seed = 0

# Faster R-CNN on a small real dataset in COCO layout (BCCD: blood cells, three classes), small enough for a CPU.
# Put annotations/, train2017/ and val2017/ into a bucket and name it in data.train.data_root and data.val.data_root.
_base_ = ["../_base_/models/faster_rcnn_r18_fpn_scratch.py", "../_base_/default_runtime.py"]

dataset_type = "CocoDataset"
data_root = "s3://yourbucket/bccd/"
classes = ("RBC", "WBC", "Platelets")
file_client_args = dict(backend="aws")
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
img_scale = (320, 240)

train_pipeline = [
    dict(type="LoadImageFromFile", file_client_args=file_client_args),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", img_scale=img_scale, keep_ratio=True),
    dict(type="RandomFlip", flip_ratio=0.5),
    dict(type="Normalize", **img_norm_cfg),
    dict(type="Pad", size_divisor=32),
    dict(type="DefaultFormatBundle"),
    dict(type="Collect", keys=["img", "gt_bboxes", "gt_labels"]),
]
test_pipeline = [
    dict(type="LoadImageFromFile", file_client_args=file_client_args),
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

optimizer = dict(type="AdamW", lr=0.001, weight_decay=0.0001)
optimizer_config = dict(grad_clip=dict(max_norm=10.0, norm_type=2))
lr_config = dict(policy="step", by_epoch=False, warmup="linear", warmup_iters=20, warmup_ratio=0.1, step=[600, 750])
runner = dict(type="IterBasedRunner", max_iters=800)
evaluation = dict(interval=200, metric="bbox", save_best="bbox_mAP")
checkpoint_config = dict(interval=200, max_keep_ckpts=2)
log_config = dict(interval=10, hooks=[dict(type="TextLoggerHook")])
seed = 0

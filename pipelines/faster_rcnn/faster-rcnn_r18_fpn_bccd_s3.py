# Faster R-CNN on a small real dataset in COCO layout (BCCD: blood cells, three classes), small enough for a CPU, in the
# dialect of mmdet 3. Put annotations/, train2017/ and val2017/ into a bucket, and name it in data_root of both sets.
_base_ = ["../_base_/models/faster-rcnn_r18_fpn_scratch.py", "../_base_/default_runtime_mmdet3.py"]

dataset_type = "CocoDataset"
data_root = "s3://yourbucket/bccd/"
metainfo = dict(classes=("RBC", "WBC", "Platelets"))
backend_args = dict(backend="aws")
scale = (320, 240)

train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=backend_args),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile", backend_args=backend_args),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017/"),
        metainfo=metainfo,
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
        backend_args=backend_args,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017/"),
        metainfo=metainfo,
        test_mode=True,
        pipeline=test_pipeline,
        backend_args=backend_args,
    ),
)
# The annotation file is that of the data set.
val_evaluator = dict(type="CocoMetric", metric="bbox")

optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=0.001, weight_decay=0.0001),
    clip_grad=dict(max_norm=10.0, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=21),
    dict(type="MultiStepLR", by_epoch=False, milestones=[600, 750], gamma=0.1),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=800, val_interval=200)
val_cfg = dict(type="ValLoop")

default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=200, max_keep_ckpts=2, save_best="coco/bbox_mAP"),
    logger=dict(interval=10),
)
log_processor = dict(window_size=10, by_epoch=False)
randomness = dict(seed=0)

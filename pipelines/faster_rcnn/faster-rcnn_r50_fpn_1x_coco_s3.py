# Faster R-CNN on COCO with everything in S3, in the dialect of mmdet 3. Put your bucket for `yourbucket`.
_base_ = [
    "../_base_/models/faster-rcnn_r50_fpn.py",
    "../_base_/datasets/coco_detection_mmdet3.py",
    "../_base_/schedules/schedule_1x_mmdet3.py",
    "../_base_/default_runtime_mmdet3.py",
]

backend_args = dict(backend="aws", path_mapping={"data/coco/": "s3://yourbucket/demo/data/coco/"})
train_dataloader = dict(dataset=dict(backend_args=backend_args))
val_dataloader = dict(dataset=dict(backend_args=backend_args))
test_dataloader = dict(dataset=dict(backend_args=backend_args))

model = dict(
    backbone=dict(
        init_cfg=dict(
            type="Pretrained",
            checkpoint="s3://yourbucket/demo/pretrained/resnet50_batch256_imagenet_20200708-cfb998bf.pth",
        )
    )
)

# finetune
load_from = "s3://yourbucket/demo/pretrained/faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth"

default_hooks = dict(
    # In 3.x regular checkpoints and the best one go to the same place.
    checkpoint=dict(
        interval=1,
        max_keep_ckpts=2,
        save_best="coco/bbox_mAP",
        out_dir="s3://yourbucket/demo/ckpt/",
    ),
    logger=dict(interval=1, out_dir="s3://yourbucket/demo/logs/"),
)

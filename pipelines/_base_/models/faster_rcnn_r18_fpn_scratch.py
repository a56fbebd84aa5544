# Faster R-CNN with ResNet-18-FPN for three classes, from scratch: nothing frozen, norms learn, and a quarter of the
# width, which a CPU thanks. Small images: small anchors, fewer proposals.
_base_ = "./faster_rcnn_r50_fpn.py"
model = dict(
    backbone=dict(depth=18, frozen_stages=-1, norm_eval=False, zero_init_residual=False, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=3),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=200), rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100)),
)

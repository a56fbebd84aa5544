checkpoint_config = dict(interval=1)
log_config = dict(interval=50, hooks=[dict(type="TextLoggerHook")])
custom_hooks = [dict(type="NumClassCheckHook")]
dist_params = dict(backend="nccl")
log_level = "INFO"
load_from = None
resume_from = None
# Files and directories whose checkpoints may hold more than weights, which can run code when read.
trusted_checkpoints = []
workflow = [("train", 1)]
# One thread per image: the loader already decodes on all cores.
opencv_num_threads = 0
mp_start_method = "fork"
auto_scale_lr = dict(enable=False, base_batch_size=16)

"""Starting and watching the processes of a training job; `ascend_scripts/train.sh` is its front."""

"""What may go wrong around a run, and what has to come of it: one line, nothing half-written.

Here lies what crosses several parts or had no test. The others are with the part that they are of:

| fault | test |
|---|---|
| disk full: a checkpoint; while training | train/test_checkpoint, train/test_trainer |
| disk full: a weight file | models/test_formats |
| disk full: the other files of a run; folders that take no file | test_disk |
| a full /dev/shm | test_disk |
| a flipped bit in a checkpoint of a run: the one before is taken | test_bits |
| cut, flipped, missing files; formats of others | train/test_checkpoint, models/test_formats |
| SIGKILL at random moments of a whole job; 20 times in a training | test_cli; test_kills |
| SIGINT and SIGTERM | train/test_trainer, train/test_interrupt |
| a batch that holds a NaN; a file that vanishes in an epoch | test_data |
| an unreadable picture, clip, table | data/test_image_folder, data/test_video, data/test_text |
| a hung or killed worker of a job | launch/test_supervise, launch/test_train |
| a killed process that decodes | test_disk |
| two runs in one output folder | test_cli, train/test_interrupt; two processes: test_runs |
| a results folder that cannot be written | train/test_interrupt, test_cli, test_disk |
| a clock that goes backwards | test_runs |
| files that hold code | test_malice; .pth that torch wrote: models/test_formats |
| any other bad input: generated configs, plans, checkpoints, files | test_generated |
"""

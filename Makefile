# demo · test · nightly · cross-check · bench · compare · lint; each makes .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin
# a file stays with one worker, so that what its fixtures compile is compiled once
WORKERS := -n 2 --dist loadfile
# COVERAGE=1: into .coverage, beside what an earlier call left there
COVER := $(if $(COVERAGE),--cov=ms_eff --cov-append --cov-report=)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO := configs/lowrank/demo_digits.yaml
ACCURACY := results/lowrank_accuracy_cifar10
VIT_ACCURACY := results/vit_accuracy_cifar10.json
SMALL_DATA := results/small_data_cifar10.json
# folder of CIFAR-10's binary files; make bench-lowrank-accuracy DATA=PATH
DATA ?= data/cifar-10-batches-bin
# folder of UTF-8 texts, some ten million characters; make bench-gpt2 TEXT=PATH
TEXT ?= data/text
# folders of SST-2 and of MiniLM's files; make bench-distillation SST2=PATH MINILM=PATH
SST2 ?= data/sst2
MINILM ?= minilm
DISTILLATION := results/distillation_sst2
# a language model (.gguf, or a Hugging Face folder), and the folder of WikiText-2's valid.txt and
# test.txt; make bench-progressive PARENT=FILE WIKITEXT=PATH
PARENT ?= parent.gguf
WIKITEXT ?= data/wikitext-2
# what its blocks are trained on between two steps, and what is timed beside it
RECOVERY := configs/progressive/smollm2_135m_recovery_cpu.yaml
RECOVERY_TEXT ?= $(WIKITEXT)/valid.txt,$(TEXT)/presidential_addresses.txt
# a folder that `ms-eff compress` has made; make bench-language-speed FAMILY=PATH
FAMILY ?= runs/smollm2_135m
CRITERIA := configs/lowrank/resnet18_cifar10_cpu.yaml

.PHONY: demo test test-gate test-all coverage nightly lite lite-check cross-check bench bench-lowrank \
	bench-lowrank-accuracy bench-vit bench-vit-accuracy bench-small-data bench-video bench-gpt2 \
	bench-criteria bench-swiftlearn bench-swiftlearn-sst2 bench-swiftlearn-cifar10 \
	bench-progressive bench-progressive-recovery bench-language-speed bench-decompose-llm \
	bench-logits-parity bench-distillation bench-cleaning bench-cleaning-effect compare \
	compare-page guard docs lint clean
.DELETE_ON_ERROR:

demo: .venv/.ready
	$(BIN)/ms-eff train $(DEMO)
	$(BIN)/ms-eff bench $(DEMO)
	$(BIN)/ms-eff export $(DEMO)
	$(BIN)/ms-eff report $(DEMO)

test: .venv/.ready-dev
	$(BIN)/python -m pytest $(WORKERS) $(COVER) -m "not slow" --durations=10

# before a merge, behind `make test`: what takes seconds each
test-gate: .venv/.ready-dev
	$(BIN)/python -m pytest $(WORKERS) $(COVER) -m "gate and not nightly" --durations=40

test-all: .venv/.ready-dev
	$(BIN)/python -m pytest $(WORKERS)

# lines of ms_eff that the two above reach; at least 90 % are wanted
coverage: .venv/.ready-dev
	rm -f .coverage
	$(MAKE) test COVERAGE=1
	$(MAKE) test-gate COVERAGE=1
	$(BIN)/coverage report --skip-covered --sort=cover --fail-under=90

# every test, and ten times as many generated bad inputs, other ones each time
nightly: .venv/.ready-dev
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest $(WORKERS)
	$(MAKE) guard

cross-check: .venv/.ready-dev
	$(BIN)/python -m cross_check run --results results/cross_check.json

bench: .venv/.ready-dev
	$(BIN)/python -m ms_eff.bench.decompose
	$(BIN)/python -m ms_eff.bench.vit
	$(BIN)/python -m ms_eff.bench.sharing

# on a machine with nothing else to do: about an hour on two cores, a row at a time
bench-lowrank: .venv/.ready
	$(BIN)/python -m ms_eff.bench.lowrank_speed; speed=$$?; \
	$(BIN)/python -m ms_eff.bench.rank_agreement && exit $$speed

# on a machine with nothing else to do: a row at a time
bench-vit: .venv/.ready
	$(BIN)/python -m ms_eff.bench.vit_variants

# about an hour on two cores; called again, it goes on where it stopped
bench-lowrank-accuracy: .venv/.ready
	$(BIN)/python -m ms_eff.bench.lowrank_accuracy --data $(DATA) --output $(ACCURACY).json
	$(BIN)/python -m ms_eff.bench.accuracy_timing $(ACCURACY).json --work runs/lowrank_accuracy
	$(BIN)/python -m ms_eff.report.lowrank_accuracy $(ACCURACY).json

# likewise
bench-vit-accuracy: .venv/.ready
	$(BIN)/python -m ms_eff.bench.vit_accuracy --data $(DATA) --output $(VIT_ACCURACY)
	$(BIN)/python -m ms_eff.bench.vit_accuracy_timing $(VIT_ACCURACY)
	$(BIN)/python -m ms_eff.report.vit_accuracy $(VIT_ACCURACY)

# about two hours on two cores left alone; called again, it goes on where it stopped. 2: a row diverged,
# which the others need not wait for
bench-small-data: .venv/.ready-dev
	$(BIN)/python -m ms_eff.bench.small_data --data $(DATA) --output $(SMALL_DATA); \
		rows=$$?; [ $$rows = 0 ] || [ $$rows = 2 ] || exit $$rows; \
	$(BIN)/python -m ms_eff.bench.small_data --data $(DATA) --output $(SMALL_DATA) \
		--rows baseline best --seeds 0 1 2 && exit $$rows
	$(BIN)/python -m ms_eff.report.small_data $(SMALL_DATA)
	$(BIN)/python -m ms_eff.bench.resnet9_speed

# what is kept before fine-tuning, by our criteria and by rivals; about half an hour on two cores, most of
# it the dense networks' training; called again, it goes on where it stopped
bench-criteria: .venv/.ready-dev
	for seed in 0 1; do \
		$(BIN)/ms-eff compress $(CRITERIA) data.root=$(DATA) data.test_limit=5000 seed=$$seed \
			output=runs/criteria/seed$$seed && \
		$(BIN)/python -m ms_eff.bench.criteria $(CRITERIA) data.root=$(DATA) data.test_limit=5000 \
			seed=$$seed --checkpoint runs/criteria/seed$$seed/models/dense \
			--name "resnet18 of width 16, seed $$seed" --output results/lowrank_criteria.json || exit; \
	done

# hours on two cores, a row at a time; called again, it goes on where it stopped
bench-swiftlearn: bench-swiftlearn-sst2 bench-swiftlearn-cifar10

bench-swiftlearn-sst2: .venv/.ready-dev
	$(BIN)/python -m ms_eff.bench.swiftlearn sst2 --data $(SST2) --minilm $(MINILM)
	$(BIN)/python -m ms_eff.report.swiftlearn_policies results/swiftlearn_sst2.json

bench-swiftlearn-cifar10: .venv/.ready
	$(BIN)/python -m ms_eff.bench.swiftlearn cifar10 --data $(DATA)
	$(BIN)/python -m ms_eff.report.swiftlearn_policies results/swiftlearn_cifar10.json

# likewise
bench-progressive: .venv/.ready-dev
	$(BIN)/python -m ms_eff.bench.progressive --parent $(PARENT) --text $(WIKITEXT)/test.txt \
		--calibration $(WIKITEXT)/valid.txt

# hours on two cores; called again, it goes on at the batch. RECOVERY_TEXT=A,B names other texts
bench-progressive-recovery: .venv/.ready-dev
	$(BIN)/python -m ms_eff.bench.progressive_recovery $(RECOVERY) parent.path=$(PARENT) \
		'calibration.files=[$(WIKITEXT)/valid.txt]' 'evaluation.files=[$(WIKITEXT)/test.txt]' \
		'recovery.files=[$(RECOVERY_TEXT)]'

# on a machine with nothing else to do: tokens a second of PARENT and of the family's members, and one
# table of all that is known of them
bench-language-speed: .venv/.ready-dev
	$(BIN)/python -m ms_eff.bench.language_speed $(PARENT) $(wildcard $(FAMILY)/members/*) \
		--output $(FAMILY)/speed.json
	$(BIN)/python -m ms_eff.report.family_record $(FAMILY) results/language_family.json

# likewise, 8 GB of memory: a 7B model's matrices, a row at a time
bench-decompose-llm: .venv/.ready
	$(BIN)/python -m ms_eff.bench.decompose_llm

# minutes: logits and perplexity beside those of transformers
bench-logits-parity: .venv/.ready-dev
	$(BIN)/python -m ms_eff.bench.logits_parity --parent $(PARENT) --text $(WIKITEXT)/test.txt

# on a machine with nothing else to do while it times; called again, it goes on where it stopped
bench-video: .venv/.ready
	$(BIN)/python -m ms_eff.bench.video_speed; speed=$$?; \
	$(BIN)/python -m ms_eff.bench.video_speed --model eco_lite_small --image 32 --width 12 --runs 200 \
		--output results/video_speed_small.json && \
	$(BIN)/python -m ms_eff.bench.video_accuracy --data $(DATA) && exit $$speed

# about an hour on two cores; called again, it goes on where it stopped
bench-gpt2: .venv/.ready-dev
	$(BIN)/python -m ms_eff.bench.gpt2_truncation --text $(TEXT)

# about an hour and a quarter on two cores, of which the last ten minutes are timed: leave the machine
# alone for them; called again, it goes on where it stopped
bench-distillation: .venv/.ready
	$(BIN)/python -m ms_eff.bench.distillation --data $(SST2) --minilm $(MINILM) \
		--output $(DISTILLATION).json
	$(BIN)/python -m ms_eff.bench.distillation --data $(SST2) --minilm $(MINILM) --size timing \
		--output $(DISTILLATION)_time.json --work runs/distillation_time
	$(BIN)/python -m ms_eff.report.distillation_methods $(DISTILLATION).json

# ours beside what one would pick instead, family by family, then the page of all: many hours on two
# cores; called again, it goes on where it stopped. DATA, SST2, MINILM, PARENT and WIKITEXT say where
# data are; a family without its data is left to a later call, and the page says so
compare: .venv/.ready-dev
	-$(MAKE) bench-criteria
	-$(MAKE) bench-lowrank-accuracy
	-$(MAKE) bench-vit-accuracy
	-$(MAKE) bench-swiftlearn-sst2
	-$(MAKE) bench-swiftlearn-cifar10
	-$(MAKE) bench-small-data
	-$(BIN)/python -m ms_eff.bench.video_accuracy --data $(DATA)
	-$(MAKE) bench-progressive
	$(MAKE) compare-page

# the page alone, from what is in results/
compare-page: .venv/.ready
	$(BIN)/python -m ms_eff.report.comparison

# fails where a ratio is worse than the recorded one by more than noise; on a machine left alone
guard: .venv/.ready-dev
	$(BIN)/python -m ms_eff.bench.vit --output runs/guard/vit_speed.json
	$(BIN)/python -m ms_eff.bench.sharing --output runs/guard/sharing.json
	$(BIN)/python -m ms_eff.bench.resnet9_speed --output runs/guard/resnet9_speed.json
	$(BIN)/python -m ms_eff.bench.guard results runs/guard

# about two minutes and 2 GB of disk, on a machine with nothing else to do
bench-cleaning: .venv/.ready
	$(BIN)/python -m ms_eff.bench.cleaning --text $(TEXT)

# about an hour on two cores; called again, it goes on where it stopped
bench-cleaning-effect: .venv/.ready-dev
	$(BIN)/python -m ms_eff.bench.cleaning_effect --text $(TEXT)

# MindSpore Lite's wheel is for Python 3.7, but its C++ libraries serve any; see ms_eff/deploy/lite.py
LITE := mindspore-lite==2.0.0 --no-deps --only-binary=:all: --python-version 3.7
lite: .lite/mindspore_lite
.lite/mindspore_lite: | .venv/.ready-dev
	mkdir -p .lite
	$(BIN)/python -m pip download --quiet --disable-pip-version-check $(LITE) \
		--implementation cp --platform manylinux1_x86_64 --dest .lite
	$(BIN)/python -m zipfile -e .lite/mindspore_lite-*.whl .lite
	rm .lite/mindspore_lite-*.whl
	$(BIN)/python -m pytest tests/deploy/test_lite.py

# needs cmake and g++; called again, it goes on where it stopped
lite-check: .lite/mindspore_lite
	$(BIN)/python -m ms_eff.bench.lite_check

# README, cards and docstrings as a site in runs/site
docs: .venv/.ready-docs
	cd docs && DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=1 ../$(BIN)/mkdocs build -q

lint: .venv/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files '*.sh' .ci/run | xargs $(BIN)/shellcheck

# A stamp is newer than what it was made from, so a second call installs nothing.
.venv/.ready: setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "Python 3.11 is needed; name it: make PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP_INSTALL) -e '.[report,video]'
	touch $@

# setup.py's extra `cross_check`: pip before 23.3 knows it only by its normalised name.
.venv/.ready-dev: .venv/.ready
	$(PIP_INSTALL) -e '.[report,text,video,llm,cross-check,dev]'
	touch $@

.venv/.ready-docs: .venv/.ready
	$(PIP_INSTALL) -e '.[docs]'
	touch $@

clean:
	rm -rf .venv .lite runs build *.egg-info

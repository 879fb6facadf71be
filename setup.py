"""Read everything from settings.ini, so that there is one place to change it."""
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="]); ini.read(here / "settings.ini"); cfg = ini["DEFAULT"]
readme = here / "README.md"
setup(
    name=cfg["lib_name"], version=cfg["version"], description=cfg["description"], author=cfg["author"],
    license="Apache-2.0", keywords=cfg["keywords"], python_requires=">=" + cfg["min_python"],
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else "", long_description_content_type="text/markdown",
    packages=find_packages(include=["grpo_lab", "grpo_lab.*"]), package_data={"grpo_lab": ["**/*.txt", "**/*.json", "**/*.css", "**/*.js", "**/*.ipynb", "**/*.html", "**/*.rb", "**/*.lyp"]},
    install_requires=cfg["requirements"].split(), extras_require={"dev": cfg["dev_requirements"].split()},
    entry_points={"console_scripts": cfg["console_scripts"].split()},
)

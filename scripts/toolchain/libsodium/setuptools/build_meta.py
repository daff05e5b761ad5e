"""The one build hook that `pip download` calls (PEP 517), answered without looking."""

import os


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    name = "pynacl-1.6.2.dist-info"
    os.makedirs(os.path.join(metadata_directory, name))
    with open(os.path.join(metadata_directory, name, "METADATA"), "w") as metadata:
        metadata.write("Metadata-Version: 2.1\nName: pynacl\nVersion: 1.6.2\n")
    return name

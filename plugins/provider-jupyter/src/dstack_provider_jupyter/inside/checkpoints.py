"""Where Jupyter keeps its checkpoints: not beside the notebooks, as they would be saved with them."""

from __future__ import annotations

import hashlib
import os

from jupyter_server.services.contents.filecheckpoints import AsyncFileCheckpoints


class Checkpoints(AsyncFileCheckpoints):  # type: ignore[misc]  # Jupyter is not there when types are checked
    """In `checkpoint_dir`, each under a name that is its own."""

    def checkpoint_path(self, checkpoint_id: str, path: str) -> str:
        """The file with the checkpoint of the notebook at `path`."""
        name = hashlib.sha256(path.strip("/").encode()).hexdigest()
        return os.path.join(self.checkpoint_dir, f"{name}-{checkpoint_id}")

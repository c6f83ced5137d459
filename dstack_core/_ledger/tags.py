"""Tags: `tags/<repo>/<tag>.json`, one object each, so that of two people who move a tag exactly one wins."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from dstack_core._ledger import documents
from dstack_core._ledger.keys import segment
from dstack_core._ledger.records import TagRecord
from dstack_core._ledger.runs import Damaged, ignore
from dstack_core.artifact_store import ArtifactStore
from dstack_core.errors import ConflictError, DstackError, NotFoundError


def tag_key(repo: str, tag: str) -> str:
    """Key of a tag."""
    return f"tags/{segment(repo)}/{segment(tag)}.json"


def read_tag(store: ArtifactStore, repo: str, tag: str) -> TagRecord:
    """Raises NotFoundError."""
    try:
        return documents.read(store, TagRecord, tag_key(repo, tag)).value
    except NotFoundError:
        raise _no_tag(tag) from None


def write_tag(store: ArtifactStore, tag: TagRecord, *, move: bool = False) -> None:
    """Add a tag. Raises ConflictError when it exists, unless it may be moved."""
    key = tag_key(tag.repo, tag.name)
    while True:
        try:
            documents.create(store, key, tag)
            return
        except ConflictError:
            if not move:
                raise ConflictError(f"the tag {tag.name} exists", hint=f"dstack tags delete {tag.name}") from None
        with contextlib.suppress(NotFoundError):  # deleted by somebody in between: it is to be made, then
            documents.update(store, TagRecord, key, lambda _: tag)
            return


def delete_tag(store: ArtifactStore, repo: str, tag: str) -> None:
    """Delete a tag, even a damaged one. Raises NotFoundError."""
    if not store.exists(tag_key(repo, tag)):
        raise _no_tag(tag)
    store.delete(tag_key(repo, tag))


def tags(store: ArtifactStore, repo: str, damaged: Damaged = ignore) -> Iterator[TagRecord]:
    """The repository's tags, in the order of their names' bytes."""
    for info in store.list(f"tags/{segment(repo)}/"):
        try:
            yield documents.read(store, TagRecord, info.key).value
        except NotFoundError:  # deleted while the listing went on
            continue
        except DstackError as error:
            damaged(error)


def tag_names(store: ArtifactStore, repo: str) -> Iterator[str]:
    """Names of the repository's tags by their keys alone: those of odd or very long names are not as people typed."""
    for info in store.list(f"tags/{segment(repo)}/"):
        yield info.key.rpartition("/")[2].removesuffix(".json")


def _no_tag(tag: str) -> NotFoundError:
    return NotFoundError(f"there is no tag {tag}", hint="dstack tags lists the tags")

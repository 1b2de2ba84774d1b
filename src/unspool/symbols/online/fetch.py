"""Downloads the files that a report lacks, each from the first server that has it.

Several at once; a server that fails is asked no more, and costs its time once. Whatever goes
wrong is a finding, and never more than that.
"""

from __future__ import annotations

import os
import shutil
import threading
import zlib
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from unspool.errors import FormatError
from unspool.model import Finding
from unspool.symbols import native
from unspool.symbols.cabinet import Unusable, unpack
from unspool.symbols.finders import checked_build_id
from unspool.symbols.ids import debug_id, store_id
from unspool.symbols.online.client import Failed, Session, Watch, library
from unspool.symbols.online.partial import Partial, clean, partial_folder
from unspool.symbols.online.servers import Absences, Offer, servers_of
from unspool.symbols.online.settings import Settings
from unspool.symbols.online.verify import objection
from unspool.symbols.stored_files import pointed_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unspool.symbols.missing import MissingFile
    from unspool.symbols.online.servers import Server

    Progress = Callable[[str], None] | None
    Wanted = tuple[str, str, str]  # kind, name, id

_WORKERS = 6
# A process has hundreds of modules; a report that was made to name millions costs a bounded time.
_MOST_FILES = 2000
_MAX_FINDINGS = 20
_POINTER_BYTES = 4096
_HOMELESS = "there is no directory to keep files in: HOME is not set"
_BOMB = 1100


class Fetcher:
    """See `elsewhere.Fetch`. Raises `MissingDependency` without urllib3.

    `progress` is told how far it is, `log` of every request and its answer.
    """

    def __init__(self, *, progress: Progress = None, log: Progress = None) -> None:
        library()
        self._settings = Settings()
        self._servers = servers_of(self._settings)
        self._progress = progress
        self._log = log
        self._stopped = False
        self._absences = Absences()
        self._asked: set[Wanted] = set()
        self._watch = Watch()
        self._local = threading.local()
        self._bytes = 0
        self._lock = threading.Lock()
        self._own_faults: dict[str, None] = {}

    @property
    def findings(self) -> list[Finding]:
        """What went wrong, of each server, and of us."""
        told = list(self._own_faults)
        if self._settings.problem:
            told.append(self._settings.problem)
        if not self._servers:
            told.append(
                "there is no server to download from; DEBUGINFOD_URLS, _NT_SYMBOL_PATH and "
                "UNSPOOL_BREAKPAD_URLS name them"
            )
        for server in self._servers:
            for why, times in server.faults.items():
                told.append(f"{server.name}: {why}" + (f" ({times} times)" if times > 1 else ""))
            if server.down is not None and server.skipped:
                told.append(f"{server.name}: not asked for {server.skipped} more, since it failed")
        return [Finding("download", each) for each in told[:_MAX_FINDINGS]]

    def fetch(self, missing: Sequence[MissingFile]) -> bool:
        wanted = [each for each in map(_wanted, missing) if each and each not in self._asked]
        wanted = list(dict.fromkeys(wanted))
        if any(kind == "pdb" for kind, _, _ in wanted) and not native.available():
            self._own_faults["no PDB files: the library symbolic is not installed"] = None
            wanted = [each for each in wanted if each[0] != "pdb"]
        if len(self._asked) + len(wanted) > _MOST_FILES:
            self._own_faults[f"more than {_MOST_FILES:,} files are missing; only so many are "
                             "asked for in one run"] = None  # fmt: skip
            wanted = wanted[: max(_MOST_FILES - len(self._asked), 0)]
        self._asked.update(wanted)
        if not wanted or not self._servers:
            return False
        alone = {(each.name, each.id) for each in missing if each.purpose.startswith("functions")}
        folder = partial_folder()
        if folder is not None:
            clean(folder)
        self._watch = Watch()
        pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="unspool-fetch")
        self._local = threading.local()
        try:
            jobs = {
                pool.submit(self._one, each, (each[1], each[2]) in alone) for each in wanted
            }
            pending, done = jobs, 0
            while pending:
                finished, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
                done += len(finished)
                self._say(done, len(jobs))
            return any(job.result() for job in jobs)
        except BaseException:
            self._stopped = True
            raise
        finally:
            self._watch.close()
            pool.shutdown(wait=False, cancel_futures=True)

    def _say(self, done: int, all_: int) -> None:
        if self._progress:
            size = self._bytes
            words = f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
            self._progress(f"downloading symbols: {done} of {all_} files, {words}")

    # --- in the workers' threads --------------------------------------------------------

    def _one(self, wanted: Wanted, functions: bool) -> bool:
        """Gets one file, or else what says nearly as much.

        That is Breakpad's symbol file, or a program, for its own symbols, where there is no debug
        file of it.
        """
        if self._get(wanted):
            return True
        kind, name, identity = wanted
        if kind in ("debuginfo", "pdb") and native.available():
            known_as = store_id(debug_id(identity)) if kind == "debuginfo" else identity
            if self._get(("sym", name, known_as)):
                return True
        if kind == "debuginfo" and functions:
            return self._get(("executable", name, identity))
        return False

    def _get(self, wanted: Wanted) -> bool:
        if self._absences.known(*wanted):
            return False
        answers = []
        for server in self._servers:
            for offer in server.offers(*wanted):
                answers.append(self._try(server, offer, wanted))
                if answers[-1] == "":
                    return True
                if answers[-1] != "absent":
                    break
        if answers and all(answer == "absent" for answer in answers):
            self._absences.remember(*wanted)
        return False

    def _try(self, server: Server, offer: Offer, wanted: Wanted) -> str:
        """Downloads, checks and keeps a file: "" if that worked, else a kind of `Failed`."""
        if server.is_down():
            server.skip()
            return "down"
        folder = partial_folder()
        if folder is None:
            self._own_faults[_HOMELESS] = None
        if folder is None or self._stopped:
            return "disk"
        try:
            with Partial(offer.url, folder) as partial:
                self._download(server, offer.url, partial)
                self._accept(server, offer, wanted, partial)
            server.worked()
        except Failed as failure:
            return self._failed(server, offer, failure)
        except OSError as error:
            self._own_faults[f"files cannot be kept: {error.strerror or error}"] = None
            return "disk"
        return ""

    def _failed(self, server: Server, offer: Offer, failure: Failed) -> str:
        self._say_request(offer.url, str(failure))
        if failure.kind == "absent":
            server.worked()
        elif failure.kind == "disk":
            self._own_faults[str(failure)] = None
        else:
            server.failed(failure.kind, str(failure))
        return failure.kind

    def _download(self, server: Server, url: str, partial: Partial) -> None:
        """The bytes that the server sends, with as many attempts as are allowed."""
        limits = server.limits
        for attempt in range(max(limits.attempts, 1)):
            try:
                self._session().download(
                    url, partial, limits,
                    headers=server.headers, on_bytes=self._count, stopped=lambda: self._stopped,
                )  # fmt: skip
            except Failed as failure:
                if failure.kind != "broken" or attempt + 1 >= limits.attempts:
                    raise
                self._say_request(url, f"{failure}; trying again")
                continue
            self._say_request(url, f"{partial.size:,} bytes")
            return

    def _accept(self, server: Server, offer: Offer, wanted: Wanted, partial: Partial) -> None:
        """Checks what was downloaded and puts it where it is looked for. Raises `Failed`."""
        kind, name, identity = wanted
        made: list[str] = []
        partial.taken()
        try:
            path = _decoded(partial, server.limits.most_bytes, made)
            if offer.packed == "pointer":
                self._follow(server, path, wanted)
                return
            if offer.packed == "cabinet":
                made.append(f"{partial.path}.{os.urandom(4).hex()}")
                unpack(path, made[-1], server.limits.most_bytes)
                path = made[-1]
            why = objection(path, kind, identity)
            if why is not None:
                raise Failed("lies", f"what it gave for {name} was refused: {why}")
            places = server.places(*wanted)
            if not places:
                raise Failed("disk", _HOMELESS)
            self._keep(path, places, server.file_mode)
        except (Unusable, FormatError) as why_not:
            raise Failed("lies", f"what it gave for {name} was refused: {why_not}") from None
        finally:
            for each in made:
                if os.path.exists(each):
                    os.unlink(each)

    def _keep(self, path: str, places: Sequence[str], mode: int) -> None:
        """Puts a file into all its places; only the nearest matters. Raises `OSError`."""
        for place in places[1:]:
            try:
                _put(path, place, mode, move=False)
            except OSError as error:
                self._own_faults[f"{place} cannot be written: {error.strerror}"] = None
        size = os.path.getsize(path)
        _put(path, places[0], mode, move=True)
        if self._log and self._settings.tell_files:
            self._log(f"{places[0]}: {size:,} bytes")

    def _follow(self, server: Server, path: str, wanted: Wanted) -> None:
        with open(path, "rb") as file:
            target = pointed_to(file.read(_POINTER_BYTES))
        if not target.lower().startswith(("http://", "https://")):
            raise Unusable(f"it points to {target}, which is not on a server")
        if server.url.startswith("https:") and target.lower().startswith("http:"):
            raise Unusable(f"it points to {target}, which is without TLS")
        folder = partial_folder()
        assert folder is not None
        with Partial(target, folder) as partial:
            self._download(server, target, partial)
            self._accept(server, Offer(target), wanted, partial)

    def _session(self) -> Session:
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = Session(self._watch)
        return session

    def _count(self, size: int) -> None:
        with self._lock:
            self._bytes += size

    def _say_request(self, url: str, answer: str) -> None:
        if self._log and self._settings.tell_requests:
            self._log(f"{url}: {answer}")


def _wanted(missing: MissingFile) -> Wanted | None:
    if not missing.id or missing.kind not in ("debuginfo", "executable", "image", "pdb"):
        return None
    if missing.kind in ("debuginfo", "executable") and checked_build_id(missing.id) is None:
        return None
    return missing.kind, missing.name, missing.id


def _decoded(partial: Partial, most: int, made: list[str]) -> str:
    """The path of the file itself, where it was sent compressed. Raises `Failed`."""
    if partial.encoding in ("", "identity"):
        return partial.path
    if partial.encoding not in ("gzip", "x-gzip"):
        raise Failed("broken", f"it sent what nobody asked for: {partial.encoding[:40]}")
    made.append(f"{partial.path}.decoded")
    most = min(most, max(partial.size * _BOMB, 1 << 20))
    unpacker = zlib.decompressobj(31)
    size = 0
    with open(partial.path, "rb") as source, open(made[-1], "wb") as out:
        while not unpacker.eof:
            data = unpacker.unconsumed_tail or source.read(1 << 16)
            if not data:
                break
            try:
                piece = unpacker.decompress(data, 1 << 20)
            except zlib.error as error:
                raise Failed("broken", f"what it sent cannot be unpacked: {error}") from None
            size += len(piece)
            if size > most:
                raise Failed("large", f"what it sent unpacks to more than {most:,} bytes")
            out.write(piece)
    if not unpacker.eof:
        raise Failed("broken", "what it sent is cut off")
    return made[-1]


def _put(path: str, place: str, mode: int, *, move: bool) -> None:
    """Gives a file its final name, at once."""
    folder = os.path.dirname(place)
    # Who may read the file may go where it is.
    os.makedirs(folder, mode=0o700 | (mode & 0o444) >> 2 | (mode & 0o044), exist_ok=True)
    if move:
        os.chmod(path, mode)
        try:
            os.replace(path, place)
            return
        except OSError:
            pass  # on another disk, most likely: it is copied
    temporary = f"{place}.{os.urandom(4).hex()}"
    try:
        shutil.copyfile(path, temporary)
        os.chmod(temporary, mode)
        os.replace(temporary, place)
    except OSError:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise

"""What requests take from the prefix cache, wait for, and leave in it."""

from __future__ import annotations

from nautiloid.engine.cache import CachePool
from nautiloid.engine.prefix import TOKEN_BYTES, Hit, PrefixCache, common, encode
from nautiloid.engine.request import Request

# Shorter gains are not worth a cut of the prefill or a wait.
LEAST_TOKENS = 16
MISS = Hit(None, 0, 0)


class Sharing:
    """Cuts prefills where states are worth a snapshot, and keeps them there.

    Snapshots are taken before the last token of a prompt (that token is always run, for its logits),
    where a prompt parts from a known one, and at the end of a completion. A request whose prefix is
    being computed by another one waits until that one has passed the place where they part.

    Args:
        every_tokens: Also take snapshots of prompts at the multiples of this.

    Attributes:
        cuts: Token counts of running prefills at which a snapshot is due, in order.
        leaders: Running prefills by salt and first tokens.
        waits: For whom a request waits, and until how many tokens.
    """

    def __init__(self, pool: CachePool, *, every_tokens: int | None = None):
        self.pool = pool
        self.cache = PrefixCache(pool)
        self.every_tokens = every_tokens
        self.keys: dict[int, bytes] = {}
        self.cuts: dict[int, list[int]] = {}
        self.leaders: dict[tuple[str, bytes], list[Request]] = {}
        self.waits: dict[int, tuple[Request, int]] = {}

    def look(self, request: Request) -> Hit | None:
        """What a waiting request can start from; None when it should wait for another one."""
        if request.salt is None:
            return MISS
        if request.id in self.waits:
            leader, until = self.waits[request.id]
            if leader.id in self.cuts and leader.num_cached < until:
                return None
            del self.waits[request.id]
        key = self._key(request)[:-TOKEN_BYTES]
        hit = self.cache.find(request.salt, key)
        leader, until = self._leader(request, key, hit)
        if leader is None:
            return hit
        if leader.num_cached == until:
            assert leader.lease is not None
            self.cache.keep(
                request.salt, key[: until * TOKEN_BYTES], leader.lease.slot, leader.lease.pages
            )
            return self.cache.find(request.salt, key)
        cuts = self.cuts[leader.id]
        if until not in cuts:
            cuts.append(until)
            cuts.sort()
        self.waits[request.id] = leader, until
        return None

    def begin(self, request: Request, hit: Hit) -> None:
        """A request entered the cache with what it hit."""
        if request.salt is None:
            return
        self.cache.note(request.num_tokens, hit)
        self.cuts[request.id] = self._places(request, hit)
        key = self._key(request)
        self.leaders.setdefault(_lead(request.salt, key), []).append(request)

    def next_cut(self, request: Request) -> int | None:
        """Where the prefill of a request has to pause."""
        cuts = self.cuts.get(request.id)
        return cuts[0] if cuts else None

    def passed(self, request: Request) -> None:
        """Keep the states of a request whose prefill went on, where it was cut."""
        cuts = self.cuts.get(request.id)
        if cuts is None or request.salt is None or request.lease is None:
            return
        while cuts and cuts[0] <= request.num_cached:
            tokens = cuts.pop(0)
            if tokens == request.num_cached or not self.pool.has_slots:
                key = self._key(request)[: tokens * TOKEN_BYTES]
                self.cache.keep(request.salt, key, request.lease.slot, request.lease.pages)
        # its last token may run with the decodes, which take no snapshots
        if not cuts and request.num_cached >= len(request.prompt_ids) + len(request.ids) - 1:
            self.leave(request)

    def finish(self, request: Request) -> None:
        """Keep the states of a request that has ended well."""
        known = len(request.prompt_ids) + len(request.ids)
        # the device may have run past an end that the host saw too late
        if request.salt is None or request.lease is None or request.num_cached > known:
            return
        key = encode((*request.prompt_ids, *request.ids))[: request.num_cached * TOKEN_BYTES]
        self.cache.keep(request.salt, key, request.lease.slot, request.lease.pages)

    def spoil(self, request: Request) -> None:
        """Drop whatever a request that went wrong took or left."""
        if request.salt is not None:
            self.cache.forget(request.salt, encode((*request.prompt_ids, *request.ids)))

    def leave(self, request: Request) -> None:
        """A request is no running prefill any more."""
        self.waits.pop(request.id, None)
        key = self.keys.pop(request.id, None)
        if self.cuts.pop(request.id, None) is None:
            return
        assert request.salt is not None
        assert key is not None
        lead = _lead(request.salt, key)
        self.leaders[lead].remove(request)
        if not self.leaders[lead]:
            del self.leaders[lead]

    def _leader(self, request: Request, key: bytes, hit: Hit) -> tuple[Request | None, int]:
        """The running prefill that will have the longest useful prefix, and how long that is."""
        assert request.salt is not None
        best, until = None, hit.tokens
        for other in self.leaders.get(_lead(request.salt, self._key(request)), ()):
            theirs = self._key(other)[:-TOKEN_BYTES]
            tokens = common(theirs, key, 0) // TOKEN_BYTES
            is_worth_it = tokens >= hit.tokens + LEAST_TOKENS or tokens * TOKEN_BYTES == len(key)
            if tokens > until and is_worth_it and other.num_cached <= tokens:
                best, until = other, tokens
        return best, until

    def _places(self, request: Request, hit: Hit) -> list[int]:
        prompt = len(request.prompt_ids)
        places = {prompt - 1}
        if hit.shared >= hit.tokens + LEAST_TOKENS:
            places.add(hit.shared)
        if self.every_tokens is not None:
            places.update(range(self.every_tokens, prompt, self.every_tokens))
        return sorted(n for n in places if hit.tokens < n < request.num_tokens)

    def _key(self, request: Request) -> bytes:
        """All known tokens; a request that waits or runs its prefill gets no new ones."""
        key = self.keys.get(request.id)
        if key is None:
            key = self.keys[request.id] = encode((*request.prompt_ids, *request.ids))
        return key


def _lead(salt: str, key: bytes) -> tuple[str, bytes]:
    """What prompts must have in common to be compared."""
    return salt, key[: min(len(key) - TOKEN_BYTES, LEAST_TOKENS * TOKEN_BYTES)]

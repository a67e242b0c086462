# ruff: noqa: E501  # the words of the program as they are
"""Bugs, one at a time: each is a likely slip in the protocol core, and the simulation must catch it."""

from tests.simulation.planting import Bug

LEASES = "feature_repo.log.leases"
HELD = "serving.refresh.held_buckets:HeldBuckets"
SHARD = "serving.refresh.shard:Shard"
REFRESHER = "serving.refresh.refresher:Refresher"
CHORES = "serving.refresh.chores:Chores"
IDENTITY = "feature_repo.store.store_identity"
INBOX = "feature_repo.log.inbox"
TAIL = "feature_repo.log.tail"
FOLD = "feature_repo.history.live_fold"
REPO = "feature_repo.store.feature_repo:FeatureRepo"
WRITES = "feature_repo.store.fenced_writes"
ASSIGNMENTS = "serving.state.assignment_poller:Assignments"

BUGS = (
    # Leases, epochs and fences
    Bug(
        "a new holder keeps the epoch",
        f"{LEASES}:Leases.hold",
        (("row.owner, row.epoch = self.owner, row.epoch + 1", "row.owner = self.owner"),),
        ("pause", "time passes"),
    ),
    Bug(
        "the fence is not raised",
        f"{WRITES}:FencedWrites.raise_fences",
        (("self._repo.online.raise_fences(self._repo.config, fences, self._repo.identity.store)", "pass"),),
    ),
    Bug(
        "histories and vectors are written without a fence",
        f"{WRITES}:_fences",
        (("Fence(bucket, epochs[bucket])", "None"),),
    ),
    Bug(
        "a bucket is put back without a fence",
        f"{REPO}.publish_bucket",
        (("fence = None if epoch is None else Fence(bucket, epoch)", "fence = None"),),
        ("store emptied",),
    ),
    Bug(
        "fences that the store lost stay lost",
        f"{HELD}.renew",
        (("held if self._refence else new, False", "new, False"),),
        ("store restarts",),
    ),
    # Positions
    Bug(
        "an outage of the store does not take the work back",
        f"{HELD}.rewind",
        (
            ("self._lazily = dict(self._settled)", "pass"),
            ("self._applied = dict(self._settled)", "pass"),
        ),
        ("store restarts",),
    ),
    Bug(
        "positions settle at once",
        f"{HELD}.settle",
        (
            ("now - self._settled_at >= DOUBT_SECONDS", "True"),
            ("self._settled |= self._reached", "self._settled |= self._lazily"),
        ),
        ("store restarts",),
    ),
    Bug(
        "the newest position settles, not the one of ten seconds ago",
        f"{HELD}.settle",
        (("self._settled |= self._reached", "self._settled |= self._lazily"),),
        ("store restarts", "time passes"),
    ),
    Bug(
        "a new holder begins at the applied position",
        f"{HELD}._take",
        (("start = min(lease.applied, lease.applied_lazily)", "start = lease.applied"),),
        ("kill",),
    ),
    Bug(
        "what was applied is noted as settled",
        f"{HELD}.note",
        (("for b, p in self._settled.items()", "for b, p in self._applied.items()"),),
        ("store restarts", "kill"),
    ),
    Bug(
        "lost buckets are folded as others",
        f"{HELD}.work",
        ((" if bucket not in self._lost", ""),),
        ("store emptied", "pause"),
    ),
    Bug(
        "a bucket that is back stays lost",
        f"{HELD}.put_back",
        (("self._lost.discard(bucket)", "pass"),),
        ("store emptied",),
    ),
    # The shard
    Bug(
        "a server that restarted is not noticed",
        f"{SHARD}.once",
        (("self.held.rewind()", "pass"),),
        ("store restarts",),
    ),
    Bug(
        "the store is compared once and never again",
        f"{SHARD}.once",
        (('self._is_due("attest", BEAT_SECONDS)', "not self._attested.is_set()"),),
        ("store emptied",),
    ),
    Bug(
        "a version that works again does not catch up",
        f"{SHARD}._refresh_in_batches",
        (("self.held.rewind(lazily=True)", "pass"),),
        ("encoder fails",),
    ),
    Bug(
        "a promoted version misses its last batch",
        f"{SHARD}._note_trailing",
        (("self._trailing |= ", "_ = "),),
        ("assignments",),
    ),
    # The refresher
    Bug(
        "a user whose row vanished is folded from nothing",
        f"{REFRESHER}._read_inputs",
        (("if not vanished:", "if True:"),),
        ("row evicted",),
    ),
    Bug(
        "a lost bucket is put back from its published position on",
        f"{REFRESHER}.put_back",
        (("self.fold_anew(bucket, 0, epoch)", "self.fold_anew(bucket, None, epoch)"),),
        ("store emptied",),
    ),
    Bug(
        "a bucket counts as back before its vectors are",
        f"{REFRESHER}.put_back",
        (
            ("self.restoring[bucket] = epoch", "pass"),
            (
                "self.held.put_back(bucket, epoch, up_to)",
                "self.held.put_back(bucket, epoch, up_to); self.held.restore(bucket, epoch)",
            ),
        ),
        ("store emptied", "pause"),
    ),
    Bug(
        "a damaged model misses nothing",
        f"{REFRESHER}._failing",
        (("self.missed.add(version.id)", "pass"),),
        ("encoder fails",),
    ),
    Bug(
        "who has any vector is not embedded again",
        f"{REFRESHER}._bring_up",
        ((" | (stored.position < position) | (stored.as_of < floor)", ""),),
        ("store restored",),
    ),
    Bug(
        "a rewind is overlooked where no row came",
        f"{REFRESHER}.step",
        (("here = (log_end(log_of.database), epochs, applied)", "here = (log_end(log_of.database), epochs, {})"),),
        ("store restarts",),
    ),
    Bug(
        "a batch counts before it is written",
        f"{REFRESHER}.step",
        (
            (
                "        if rows:\n",
                "        self.held.record_progress(tail.up_to | tail.large, epochs)\n        if rows:\n",
            ),
            (
                "        self.held.record_progress(tail.up_to | tail.large, epochs)\n        self.pressed",
                "        self.pressed",
            ),
        ),
        ("pause", "sql fails"),
    ),
    Bug(
        "later versions follow beyond what is folded",
        f"{CHORES}.refresh_in_batches",
        (("bucket: min(end, applied[bucket])", "bucket: end"),),
        ("pause",),
    ),
    # The identity of the store
    Bug(
        "a restored store is taken for the present one",
        f"{IDENTITY}:_match",
        ((" or mark.beat < row.beat - DOUBT", ""),),
        ("store restored", "time passes"),
    ),
    Bug(
        "a restored registry is taken for the present one",
        f"{IDENTITY}:_match",
        ((" or mark.beat > row.beat", ""),),
        ("registry restored",),
    ),
    Bug(
        "a new filling loses no bucket",
        f"{IDENTITY}:StoreIdentity._mark_anew",
        (("if not whole:", "if False:"),),
        ("store emptied",),
    ),
    Bug(
        "leases go on over a new filling",
        f"{IDENTITY}:StoreIdentity._mark_anew",
        (("session.execute(update(LeaseRow).values(epoch=LeaseRow.epoch + 1, owner=None))", "pass"),),
        ("store emptied",),
    ),
    Bug(
        "forgotten users of a backup stay",
        f"{IDENTITY}:StoreIdentity._mark_anew",
        (("self._sweep_forgotten()", "pass"),),
        ("store restored", "forget", "time passes"),
    ),
    Bug(
        "the beat reaches the store first",
        f"{IDENTITY}:StoreIdentity.attest",
        (
            (
                "            mark = StoreMark(_instance(session), row.store, row.beat)\n        self._online",
                "            mark = StoreMark(_instance(session), row.store, row.beat)\n            self._online",
            ),
        ),
        ("sql commit fails",),
    ),
    Bug(
        "an emptied store is no problem to readers",
        f"{IDENTITY}:StoreIdentity.problem",
        (("if match == Match.LOST:", "if False:"),),
        ("store emptied",),
    ),
    Bug(
        "lost buckets are no problem to readers",
        "serving.state.store_watch:StoreWatch.look",
        (("self._identity.lost() if problem is None else lost", "lost"),),
        ("store emptied",),
    ),
    Bug(
        "taking over leaves the rows of before",
        f"{IDENTITY}:StoreIdentity.take_over",
        (("self._online.clear(self._config, kept)", "pass"),),
        ("registry restored",),
    ),
    # The log
    Bug(
        "an event that is known is taken again",
        f"{INBOX}:_outcome",
        (("record.event_id is None or record.event_id not in known", "True"),),
        ("twice",),
    ),
    Bug(
        "records of forgotten users are taken",
        f"{INBOX}:_outcome",
        (("if record.user_id in forgotten:", "if False:"),),
        ("forget",),
    ),
    Bug(
        "the first row of a batch is passed over",
        f"{TAIL}:read_tail",
        (("position > {after[b]:d} AND", "position > {after[b] + 1:d} AND"),),
    ),
    Bug(
        "rows of forgotten users are read",
        f"{TAIL}:read_tail",
        (
            (
                'gone = forgotten.among(session, {record.user_id or "" for record in found}) if forgotten else set()',
                "gone = set()",
            ),
        ),
        ("forget", "pause"),
    ),
    Bug(
        "a bucket ends one row later than it does",
        f"{TAIL}:_ends",
        (("b: position - 1", "b: position"),),
    ),
    # The fold
    Bug(
        "an event that comes again is folded again",
        f"{FOLD}:LiveHistory.fold",
        (("if event[EVENT_ID] in self.event_ids:", "if False:"),),
        ("kill",),
    ),
    Bug(
        "an event that is too old pushes out another one",
        f"{FOLD}:LiveHistory.fold",
        (("if at <= oldest:", "if False:"),),
    ),
    Bug(
        "events of one moment are in the order of their arrival",
        f"{FOLD}:LiveHistory._place",
        ((" and self.event_ids[at] < event_id", ""),),
    ),
    Bug(
        "a change of a profile empties its other columns",
        f"{FOLD}:_merge",
        (
            (
                "row.content[name] for name in profile if name in row.content",
                "row.content.get(name) for name in profile",
            ),
        ),
    ),
    Bug(
        "a change of a profile does not move the history",
        f"{FOLD}:fold_rows",
        (("    changed |= with_profile\n", ""),),
    ),
    Bug(
        "the history is written before the profile",
        f"{WRITES}:FencedWrites.write_inputs",
        (
            (
                "((PROFILE_VIEW, profiles), (HISTORY_VIEW, histories))",
                "((HISTORY_VIEW, histories), (PROFILE_VIEW, profiles))",
            ),
        ),
        ("kill",),
    ),
    # Forgetting
    Bug(
        "a forgetting does not wait for the shards",
        "feature_repo.forgetting.forgetting:Forgetting.forget",
        (("            self._followed(generation)\n", ""),),
        ("forget", "pause"),
    ),
    Bug(
        "a tombstone has no generation of its own",
        "feature_repo.forgetting.tombstones:TombstoneLog.lay",
        (("return bump(session, projected=False)", "return generation_of(session)"),),
        ("forget", "pause"),
    ),
    Bug(
        "the online rows of a forgotten user stay",
        "feature_repo.forgetting.places:OnlineRows.delete",
        (("self._online.delete_users(config, [user.id])", "pass"),),
        ("forget",),
    ),
    # Gateways
    Bug(
        "a gateway follows only a greater generation",
        f"{ASSIGNMENTS}.refresh",
        (("generation != state.generation", "generation > state.generation"),),
        ("registry restored", "assignments"),
    ),
    Bug(
        "a state is reported before it is kept",
        "serving.state.heartbeat:Heartbeat._beat",
        (
            (
                '        if state is not self._saved and self._attempt("the assignments were not kept on disk", self._keep, state):\n            self._saved = state\n',
                "",
            ),
            (
                "        if told and",
                '        if self._attempt("the assignments were not kept on disk", self._keep, state):\n            self._saved = state\n        if told and',
            ),
        ),
        ("kill", "assignments", "sql fails"),
    ),
    Bug(
        "a promotion does not raise the generation",
        "registry.promotions.change:AssignmentChange.write",
        (("bump(self.session, projected=self.assignment is None or stable != self.assignment.stable)", "pass"),),
        ("assignments",),
    ),
    Bug(
        "a retirement does not wait for the gateways",
        "registry.serving_state.replicas:Replicas.behind",
        (("r.generation < generation and r.role in roles", "False"),),
        ("assignments",),
    ),
)
"""Every bug; tests hold that all of them can be planted, `--bugs` that all are caught."""

/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent path of the replicated log: the target's agent compares the epoch, stores, syncs and answers (docs/log.md). One
 * slot, three replicas, one leader per epoch 1 … EPOCHS; every interleaving, cut off anywhere.
 *
 * A replica has an epoch and its accepted entries, both on its disk; what was not synced is lost when it crashes. It
 *   grants epoch e if its own is lower: raises it, syncs, answers with the highest entry it has accepted;
 *   accepts the entry of epoch e if its own is not higher, in one step with the comparison: appends it, syncs, answers.
 * The leader of epoch e asks for grants, adopts the highest entry that a majority answered with, else takes its own, and
 * sends it; a majority of answers decides. Agreement: no two leaders decide differently.
 *
 * Messages stay for ever: what arrives late, twice, in another order or never is all in it. A leader that crashes is one
 * that sends nothing more. Replicas crash and restart as often as they like.
 *
 * Cuts that lose no run: all replicas have granted epoch 1, and accept its entry for the first time in the order of their
 * numbers (they are alike before); the last leader decides when it chooses, since nobody is left to refuse it.
 *
 * Each of the other macros breaks one condition; spec/run says that the model then finds a disagreement.
 */
#ifndef EPOCHS
#define EPOCHS 3
#endif
#define MAJORITY 2
#define BIT(n) (1 << (n))
#define IN(m, set) (((set) >> (m)) & 1)
#define COUNT(set) (IN(0, set) + IN(1, set) + IN(2, set))
#define HIGHEST(set) (IN(3, set) -> 3 : (IN(2, set) -> 2 : (IN(1, set) -> 1 : 0)))

/* Messages. */
byte asked;                      /* bit e: the leader of e asked for grants */
byte granted[EPOCHS + 1];        /* bit m: replica m granted e */
byte reported[3 * (EPOCHS + 1)]; /* [3 e + m]: the highest accepted epoch that it answered with */
byte value[EPOCHS + 1];          /* the entry that the leader of e sent; 0: none yet */
byte accepted[EPOCHS + 1];       /* bit m: replica m acknowledged the entry of e */

byte decided;
byte tried;                      /* bit m: replica m has appended the entry of epoch 1 */

inline decide(e) {
  assert(decided == 0 || decided == value[e]);
  decided = value[e]
}

proctype replica(byte m) {
  byte epoch = 1, disk_epoch = 1;
  byte entries, disk_entries;    /* bit e: the entry of epoch e is accepted */
  byte to_grant, to_accept;      /* epochs whose answers wait for the sync */
  byte e;
#ifdef CHECK_APART
  byte checked;
#endif
  do
  :: atomic {                    /* a request for a grant, any above the own epoch */
       if
       :: IN(2, asked) && epoch < 2 -> e = 2
       :: IN(3, asked) && epoch < 3 -> e = 3
       fi;
       epoch = e;
       to_grant = e;
       e = 0
     }
  :: atomic {                    /* an entry */
#ifdef CHECK_APART
       if
       :: value[1] != 0 && !IN(1, entries) && IN(1, checked) -> e = 1
       :: value[2] != 0 && !IN(2, entries) && IN(2, checked) -> e = 2
       fi;
       checked = checked & ~BIT(e);
#else
       if
       :: value[1] != 0 && epoch <= 1 && !IN(1, entries) && (m == 0 || IN(m - 1, tried)) -> e = 1
       :: value[2] != 0 && epoch <= 2 && !IN(2, entries) -> e = 2
       fi;
       epoch = e;
#endif
       if
       :: e == 1 -> tried = tried | BIT(m)
       :: else
       fi;
#ifdef IN_PLACE                  /* the old entry is gone before the new one is on the disk */
       disk_entries = 0;
       entries = 0;
#endif
       entries = entries | BIT(e);
       to_accept = to_accept | BIT(e);
       e = 0
     }
#ifdef CHECK_APART
  :: atomic {
       if
       :: value[1] != 0 && epoch <= 1 && !IN(1, entries | checked) -> e = 1
       :: value[2] != 0 && epoch <= 2 && !IN(2, entries | checked) -> e = 2
       fi;
       epoch = e;
       checked = checked | BIT(e);
       e = 0
     }
#endif
  :: atomic {
       disk_epoch != epoch || disk_entries != entries ->
       disk_epoch = epoch;
       disk_entries = entries
     }
  :: atomic {
       to_grant != 0 &&
#ifdef GRANT_UNSYNCED
       true ->
#else
       disk_epoch >= to_grant ->
#endif
       granted[to_grant] = granted[to_grant] | BIT(m);
       reported[3 * to_grant + m] = HIGHEST(entries & disk_entries);
       to_grant = 0
     }
  :: atomic {
       to_accept != 0 &&
#ifdef ACCEPT_UNSYNCED
       true ->
#else
       (disk_entries & to_accept) == to_accept ->
#endif
       if
       :: IN(1, to_accept) -> accepted[1] = accepted[1] | BIT(m)
       :: else
       fi;
       if
       :: IN(2, to_accept) -> accepted[2] = accepted[2] | BIT(m)
       :: else
       fi;
       to_accept = 0
     }
  :: atomic {                    /* crash and restart */
       disk_epoch != epoch || disk_entries != entries || to_grant != 0 || to_accept != 0 ->
       epoch = disk_epoch;
       entries = disk_entries;
       to_grant = 0;
       to_accept = 0
#ifdef CHECK_APART
       ; checked = 0
#endif
     }
  od
}

proctype leader(byte e) {
  byte best;
  if
  :: e > 1 ->
     asked = asked | BIT(e);
     atomic {
#ifdef MINORITY
       granted[e] != 0 ->
#else
       COUNT(granted[e]) >= MAJORITY ->
#endif
       if
       :: IN(0, granted[e]) && reported[3 * e] > best -> best = reported[3 * e]
       :: else
       fi;
       if
       :: IN(1, granted[e]) && reported[3 * e + 1] > best -> best = reported[3 * e + 1]
       :: else
       fi;
       if
       :: IN(2, granted[e]) && reported[3 * e + 2] > best -> best = reported[3 * e + 2]
       :: else
       fi;
#ifdef NO_ADOPTION
       value[e] = e;
#else
       value[e] = (best == 0 -> e : value[best]);
#endif
       best = 0
     }
  :: else -> value[1] = 1
  fi;
  atomic {
    e == EPOCHS || COUNT(accepted[e]) >= MAJORITY ->
    decide(e)
  }
}

init {
  byte n;
  atomic {
    n = 0;
    do
    :: n < 3 -> run replica(n); n++
    :: else -> break
    od;
    n = 1;
    do
    :: n <= EPOCHS -> run leader(n); n++
    :: else -> break
    od;
    n = 0
  }
}

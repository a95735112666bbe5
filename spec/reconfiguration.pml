/* SPDX-License-Identifier: Apache-2.0
 *
 * A change of the group's members (docs/log.md). Three replicas, two slots, one leader per epoch 1 … EPOCHS; every
 * interleaving, cut off anywhere.
 *
 * Slot 1 holds an ordinary entry or a configuration: the voters of what follows. Without one, the first configuration, all
 * three replicas, goes on. While a leader does not know slot 1 to be decided, whatever it does needs a majority of the first
 * configuration and a majority of the one in slot 1: grants before slot 2 is chosen, acceptance of slot 1, acceptance of slot
 * 2. When it knows, the new configuration alone counts. A replica accepts slot 2 behind slot 1, as in a log.
 * A grant raises the replica's epoch and tells the highest entries it has accepted, in one step; acceptance compares the
 * epoch in the same step. Agreement: no two leaders decide differently, in either slot.
 *
 * Bounds: a leader takes no grant after it chose slot 2; of the configurations, all three replicas, two of them and a single one, disjoint from each other where that hurts.
 * Cuts that lose no run: leader 1 holds all grants, and names the replicas so that it removes or keeps the last; the last
 * leader decides when it chooses, since nobody is left to refuse it; a decided entry is sent no further.
 *
 * Each of the other macros breaks one condition; spec/run says that the model then finds a disagreement.
 */
#ifndef EPOCHS
#define EPOCHS 3
#endif
#define BIT(n) (1 << (n))
#define IN(m, set) (((set) >> (m)) & 1)
#define COUNT(set) (IN(0, set) + IN(1, set) + IN(2, set))
#define MAJORITY(set, voters) (2 * COUNT((set) & (voters)) > COUNT(voters))
#define SOME_REPLICA(can, do_it) \
  :: atomic { can(0) -> do_it(0) } \
  :: atomic { can(1) -> do_it(1) } \
  :: atomic { can(2) -> do_it(2) }
#define ALL 7

byte epoch[3];                 /* of each replica */
byte first[EPOCHS + 1];        /* bit m: replica m has accepted slot 1 of that epoch */
byte second[EPOCHS + 1];       /* … slot 2 */
byte voters[EPOCHS + 1];       /* what the leader of the epoch chose for slot 1: the voters of slot 2; 0: nothing yet */
byte author[EPOCHS + 1];       /* … and who proposed that: two leaders' equal configurations are one entry each */
byte value[EPOCHS + 1];        /* what it chose for slot 2 */
byte decided_author, decided_voters, decided_value;

#define HIGHEST_FIRST(m) ((e > 2 && IN(m, first[2])) -> 2 : (IN(m, first[1]) -> 1 : 0))
#define HIGHEST_SECOND(m) ((e > 2 && IN(m, second[2])) -> 2 : (IN(m, second[1]) -> 1 : 0))

#ifdef OLD_QUORUM
#define SECOND_VOTERS (e == 1 -> ALL : voters[e])
#else
#define SECOND_VOTERS voters[e]
#endif

#define CAN_GRANT(m) (value[e] == 0 && epoch[m] < e)
inline grant(m) {
  epoch[m] = e;
  granted = granted | BIT(m);
  if
  :: voters[e] == 0 && HIGHEST_FIRST(m) > best_first -> best_first = HIGHEST_FIRST(m)
  :: else
  fi;
  if
  :: HIGHEST_SECOND(m) > best_second -> best_second = HIGHEST_SECOND(m)
  :: else
  fi
}

#define CAN_ACCEPT_FIRST(m) (e < EPOCHS && voters[e] != 0 && !decided_first && epoch[m] <= e && !IN(m, first[e]))
inline accept_first(m) {
  epoch[m] = e;
  first[e] = first[e] | BIT(m)
}
#define CAN_ACCEPT_SECOND(m) (e < EPOCHS && value[e] != 0 && epoch[m] <= e && !IN(m, second[e]) && (decided_first || IN(m, first[e])))
inline accept_second(m) {
  epoch[m] = e;
  second[e] = second[e] | BIT(m)
}

#ifdef NO_NEW_GRANTS
#define GRANTED_BY_NEW true
#else
#define GRANTED_BY_NEW MAJORITY(granted, voters[e])
#endif
#ifdef NEW_ONLY
#define OLD_TOO(set) true
#else
#define OLD_TOO(set) (decided_first || MAJORITY(set, ALL))
#endif

proctype leader(byte e) {
  byte granted, best_first, best_second;
  bit decided_first;

  if
  :: e == 1 -> granted = ALL
  :: else
  fi;
  do
  SOME_REPLICA(CAN_GRANT, grant)
  SOME_REPLICA(CAN_ACCEPT_FIRST, accept_first)
  SOME_REPLICA(CAN_ACCEPT_SECOND, accept_second)
  :: atomic {                  /* choose slot 1 */
       voters[e] == 0 && MAJORITY(granted, ALL) ->
       if
       :: best_first != 0 ->
          voters[e] = voters[best_first];
          author[e] = author[best_first]
       :: else ->
          author[e] = e;
          if
          :: voters[e] = ALL
          :: voters[e] = ALL - 4
          :: e > 1 -> voters[e] = ALL - 1
          :: voters[e] = 4
          :: e > 1 -> voters[e] = 1
          fi
       fi;
       best_first = 0
     }
  :: atomic {                  /* or learn what was decided there: no grant of the first configuration is needed then */
       voters[e] == 0 && decided_author != 0 ->
       voters[e] = decided_voters;
       author[e] = decided_author;
       decided_first = 1;
       best_first = 0
     }
  :: atomic {                  /* decide slot 1 */
       !decided_first && voters[e] != 0 && (e == EPOCHS || (MAJORITY(first[e], ALL) && MAJORITY(first[e], voters[e]))) && GRANTED_BY_NEW ->
       decided_first = 1;
       assert(decided_author == 0 || decided_author == author[e]);
       decided_author = author[e];
       decided_voters = voters[e]
     }
  :: atomic {                  /* choose slot 2 */
       value[e] == 0 && voters[e] != 0 && GRANTED_BY_NEW ->
       value[e] = (best_second == 0 -> e : value[best_second]);
       best_second = 0
     }
  :: atomic {                  /* decide slot 2 */
       value[e] != 0 && (e == EPOCHS || (MAJORITY(second[e], SECOND_VOTERS) && OLD_TOO(second[e]))) ->
       assert(decided_value == 0 || decided_value == value[e]);
       decided_value = value[e];
       granted = 0;
       decided_first = 0;
       break
     }
  od
}

init {
  byte n;
  atomic {
    epoch[0] = 1; epoch[1] = 1; epoch[2] = 1;
    n = 1;
    do
    :: n <= EPOCHS -> run leader(n); n++
    :: else -> break
    od;
    n = 0
  }
}

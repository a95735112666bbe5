/* SPDX-License-Identifier: Apache-2.0
 *
 * The direct path of the replicated log: leaders write entries straight into passive memories (docs/log.md). One slot,
 * three memories, one leader per epoch 1 … EPOCHS; every interleaving, cut off anywhere.
 *
 * A memory holds an epoch word and one lane per epoch. The leader of epoch e
 *   raises the word of a majority to e by compare-and-swap, which never lowers it, then reads every lower lane there;
 *   adopts the value of the highest lane that is complete, else takes its own;
 *   lands the value in its own lane, and only then loads the word again: an acknowledgement if it is still e.
 * A majority of acknowledgements decides. Agreement: no two leaders decide differently.
 *
 * With TORN an entry lands in two halves and is read in two. A leader that crashes is one that takes no further step; a
 * memory that is gone is one that nobody uses any more. A refused raise or acknowledgement changes nothing and is no step.
 *
 * Bound: a leader takes no grant after it chose.
 * Cuts that lose no run:
 *   Leader 1 holds all grants from the start: it could have raised all words first, and may leave any memory alone.
 *   It begins its entries in the order of the memories' numbers: they are alike before, so any run is such a one renamed.
 *   The last leader decides when it chooses: nobody is left to refuse it, and nobody reads what it lands.
 *
 * Each of the other macros breaks one condition; spec/run says that the model then finds a disagreement.
 */
#ifndef EPOCHS
#define EPOCHS 3
#endif
#ifndef TORN
#define TORN 0
#endif
#define MAJORITY 2
#define BIT(n) (1 << (n))
#define IN(m, set) (((set) >> (m)) & 1)
#define COUNT(set) (IN(0, set) + IN(1, set) + IN(2, set))
#define SOME_MEMORY(can, do_it) \
  :: atomic { can(0) -> do_it(0) } \
  :: atomic { can(1) -> do_it(1) } \
  :: atomic { can(2) -> do_it(2) }

byte word[3];            /* of each memory: the epoch word */
byte begun[3];           /* bit e: the first half of epoch e's entry is in its lane */
byte landed[3];          /* bit e: the second half too */
byte value[EPOCHS + 1];  /* what the leader of an epoch writes, once it has chosen */
byte decided;            /* 0: nothing yet */

#ifdef ADOPT_LOWEST
#define BETTER(found, kept) (kept == 0 || found < kept)
#else
#define BETTER(found, kept) (found > kept)
#endif
#ifdef IN_PLACE          /* one slot for all epochs; its checksum covers the epoch */
byte slot_begun[3], slot_landed[3];  /* the epoch that wrote each half */
#define SEE_BEGUN(m, l) (slot_begun[m] == l)
#define SEE_LANDED(m, l) (slot_landed[m] == l)
#else
#define SEE_BEGUN(m, l) IN(l, begun[m])
#define SEE_LANDED(m, l) IN(l, landed[m])
#endif

inline decide() {
  assert(decided == 0 || decided == value[e]);
  decided = value[e]
}

#if defined(RAISE_BY_WRITE)
#define CAN_COMPARE(m) (!IN(m, granted | compared) && word[m] < e)
inline compare(m) { compared = compared | BIT(m) }
#define CAN_RAISE(m) IN(m, compared)
#elif defined(READ_FIRST)
#define CAN_RAISE(m) (!IN(m, granted) && word[m] < e && IN(m, read))
#else
#define CAN_RAISE(m) (!IN(m, granted) && word[m] < e)
#endif
inline raise(m) {
#ifdef RAISE_BY_WRITE
  compared = compared & ~BIT(m);
#endif
  word[m] = e;
  granted = granted | BIT(m);
#ifdef READ_FIRST
  skip
#else
  lane[m] = e - 1
#endif
}

#ifdef READ_FIRST
#define CAN_BEGIN_TO_READ(m) !IN(m, read)
inline begin_to_read(m) {
  read = read | BIT(m);
  lane[m] = e - 1
}
#endif
#define CAN_READ(m) (lane[m] > 0)
inline read_lane(m) {
  if
  :: TORN && !IN(m, half_read) ->
     half_read = half_read | BIT(m);
     half = half | (SEE_BEGUN(m, lane[m]) << m)
  :: else ->
     if
     :: (!TORN || IN(m, half)) && SEE_LANDED(m, lane[m]) && BETTER(lane[m], best) -> best = lane[m]
     :: else
     fi;
     half_read = half_read & ~BIT(m);
     half = half & ~BIT(m);
#ifdef PREVIOUS_LANE_ONLY
     lane[m] = 0
#else
     lane[m]--
#endif
  fi
}
#define ALL_READ (lane[0] == 0 && lane[1] == 0 && lane[2] == 0)

#ifdef CHECK_FIRST
#define CAN_CHECK(m) (e < EPOCHS && IN(m, granted) && !IN(m, checked) && word[m] == e)
inline check(m) { checked = checked | BIT(m) }
#define MAY_LAND(m) IN(m, checked)
#else
#define MAY_LAND(m) true
#endif
#define CAN_LAND(m) (MAY_LAND(m) && e < EPOCHS && IN(m, granted) && !IN(e, landed[m]) && (e > 1 || m == 0 || IN(1, begun[(m + 2) % 3])))
inline land(m) {
  if
  :: TORN && !IN(e, begun[m]) ->
     begun[m] = begun[m] | BIT(e);
#ifdef IN_PLACE
     slot_begun[m] = e
#endif
  :: else ->
     begun[m] = begun[m] | BIT(e);
     landed[m] = landed[m] | BIT(e);
#ifdef IN_PLACE
     slot_landed[m] = e
#endif
  fi
}
#if defined(CHECK_FIRST)
#define STANDS(m) IN(e, landed[m])
#elif defined(NO_FENCE)        /* the processor loads the word before its stores have left for the memory */
#define STANDS(m) (word[m] == e)
#elif defined(OWN_UNCHECKED)   /* memory e - 1 is the leader's own */
#define STANDS(m) (IN(e, landed[m]) && (word[m] == e || m == e - 1))
#else
#define STANDS(m) (IN(e, landed[m]) && word[m] == e)
#endif
#define CAN_ACK(m) (e < EPOCHS && IN(m, granted) && !IN(m, acked) && STANDS(m))
inline ack(m) { acked = acked | BIT(m) }

proctype leader(byte e) {
  byte granted;    /* memories that this leader raised to e */
  byte lane[3];    /* the lane to read there next, from e - 1 down; 0: all are read */
  byte best;       /* the highest lane found complete */
  byte half;       /* memories where the first half of that lane was seen */
  byte half_read;  /* … was looked at */
  byte acked;
#ifdef RAISE_BY_WRITE
  byte compared;
#endif
#ifdef READ_FIRST
  byte read;
#endif
#ifdef CHECK_FIRST
  byte checked;
#endif

  if
  :: e == 1 ->
     granted = 7;
     goto replicate
  :: else
  fi;
  do
#ifdef RAISE_BY_WRITE
  SOME_MEMORY(CAN_COMPARE, compare)
#endif
#ifdef READ_FIRST
  SOME_MEMORY(CAN_BEGIN_TO_READ, begin_to_read)
#endif
  SOME_MEMORY(CAN_RAISE, raise)
  SOME_MEMORY(CAN_READ, read_lane)
  :: atomic {
       COUNT(granted) >= MAJORITY && ALL_READ ->
#ifdef NO_ADOPTION
       value[e] = e;
#else
       value[e] = (best == 0 -> e : value[best]);
#endif
       best = 0;
       if
       :: e == EPOCHS -> decide(); granted = 0
       :: else
       fi;
       break
     }
  od;
replicate:
  do
#ifdef CHECK_FIRST
  SOME_MEMORY(CAN_CHECK, check)
#endif
  SOME_MEMORY(CAN_LAND, land)
  SOME_MEMORY(CAN_ACK, ack)
  :: atomic {
       COUNT(acked) >= MAJORITY ->
       decide();
       acked = 0;
       granted = 0;
       break
     }
  od
}

#ifdef AMNESIA           /* a memory restarts empty, once, and is taken for the old one */
active proctype restart() {
  if
  :: atomic { word[0] = 0; begun[0] = 0; landed[0] = 0 }
  :: atomic { word[1] = 0; begun[1] = 0; landed[1] = 0 }
  :: atomic { word[2] = 0; begun[2] = 0; landed[2] = 0 }
  fi
}
#endif

init {
  byte e;
  atomic {
    word[0] = 1; word[1] = 1; word[2] = 1;
    value[1] = 1;
    e = 1;
    do
    :: e <= EPOCHS -> run leader(e); e++
    :: else -> break
    od;
    e = 0
  }
}

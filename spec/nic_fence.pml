/* SPDX-License-Identifier: Apache-2.0
 *
 * The direct path where a network card guards the memory: only the writes of the epoch that holds the permission land
 * (queue-pair access flags; docs/log.md). One slot, three memories, one leader per epoch 1 … EPOCHS, a lane per epoch;
 * every interleaving, cut off anywhere.
 *
 * The card compares a write's epoch with the holder, lands it later, and reports completion (half an entry reads as none:
 * direct_path.pml). A memory's agent, asked
 * for a grant by a higher epoch, takes the permission from the holder, waits until no write that was let in is still under
 * way (drain), gives it to the new epoch, and answers; the leader then reads all lower lanes, adopts the highest complete
 * entry or takes its own, and writes. Completions of a majority decide. Agreement: no two leaders decide differently.
 *
 * Bound: a leader takes no grant after it chose.
 * Cuts that lose no run: leader 1 holds all permissions and posts its writes in the order of the memories' numbers (they are
 * alike before); the last leader decides when it chooses.
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
#define SOME_MEMORY(can, do_it) \
  :: atomic { can(0) -> do_it(0) } \
  :: atomic { can(1) -> do_it(1) } \
  :: atomic { can(2) -> do_it(2) }

byte holder[3];          /* of each memory: the epoch that may write; 0: none, between two holders */
byte claimed[3];         /* the highest epoch that asked its agent for a grant */
byte posted[3];          /* bit e: the write of epoch e has come as far as the card */
byte under_way[3];       /* bit e: it was let in and has not landed */
byte landed[3];          /* bit e: it is in its lane */
byte value[EPOCHS + 1];
byte decided;

inline decide() {
  assert(decided == 0 || decided == value[e]);
  decided = value[e]
}

/* The agent. */
#define CAN_REVOKE(m) (claimed[m] < e)
inline revoke(m) {
  claimed[m] = e;
  holder[m] = 0
}
#ifdef NO_DRAIN
#define DRAINED(m) true
#else
#define DRAINED(m) (under_way[m] == 0)
#endif
#define CAN_GRANT(m) (claimed[m] == e && holder[m] == 0 && !IN(m, granted) && DRAINED(m))
inline grant(m) {
  holder[m] = e;
  granted = granted | BIT(m);
  lane[m] = e - 1
}

#define CAN_READ(m) (lane[m] > 0)
inline read_lane(m) {
  if
  :: IN(lane[m], landed[m]) && lane[m] > best -> best = lane[m]
  :: else
  fi;
  lane[m]--
}
#define ALL_READ (lane[0] == 0 && lane[1] == 0 && lane[2] == 0)

/* The card. */
#define CAN_POST(m) (e < EPOCHS && IN(m, granted) && !IN(e, posted[m]) && (e > 1 || m == 0 || IN(1, posted[(m + 2) % 3])))
inline post(m) { posted[m] = posted[m] | BIT(e) }
#ifdef NO_CHECK
#define LET_IN(m) true
#else
#define LET_IN(m) (holder[m] == e)
#endif
#define CAN_ENTER(m) (IN(e, posted[m]) && !IN(e, under_way[m] | landed[m]) && LET_IN(m))
inline enter(m) { under_way[m] = under_way[m] | BIT(e) }
#define CAN_LAND(m) (IN(e, under_way[m]))
inline land(m) {
  landed[m] = landed[m] | BIT(e);
  under_way[m] = under_way[m] & ~BIT(e)
}
#ifdef EARLY_COMPLETION
#define COMPLETE(m) IN(e, posted[m])
#else
#define COMPLETE(m) IN(e, landed[m])
#endif
#define CAN_ACK(m) (!IN(m, acked) && COMPLETE(m))
inline ack(m) { acked = acked | BIT(m) }

proctype leader(byte e) {
  byte granted;    /* memories that answered this leader's request */
  byte lane[3];    /* the lane to read there next, from e - 1 down; 0: all are read */
  byte best;       /* the highest lane found complete */
  byte acked;

  if
  :: e == 1 ->
     granted = 7;
     goto replicate
  :: else
  fi;
  do
  SOME_MEMORY(CAN_REVOKE, revoke)
  SOME_MEMORY(CAN_GRANT, grant)
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
  SOME_MEMORY(CAN_POST, post)
  SOME_MEMORY(CAN_ENTER, enter)
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

init {
  byte e;
  atomic {
    holder[0] = 1; holder[1] = 1; holder[2] = 1;
    claimed[0] = 1; claimed[1] = 1; claimed[2] = 1;
    value[1] = 1;
    e = 1;
    do
    :: e <= EPOCHS -> run leader(e); e++
    :: else -> break
    od;
    e = 0
  }
}

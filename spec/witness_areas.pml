/* SPDX-License-Identifier: Apache-2.0
 *
 * A witness that is memory alone, and whose memory is used again (docs/direct-path.md). Two servers with a memory each
 * (0, 1), and the witness's (2): an epoch word, and for each server two areas that it alone writes. One value; odd epochs
 * are of server 0, even ones of server 1; a server that takes part in a later epoch has left its earlier one.
 *
 * A leader raises the word of the witness by compare-and-swap, and then reads all four areas, one after the other. It
 * writes its lane into that one of its areas which does not hold its later lane: while it does, nothing whole is there.
 * When all of it has landed, the word is loaded; if it is still its epoch, the lane counts, and the other area may be
 * written: the same again, with less before it, for there is one value here.
 *
 * What direct_path proves is one step here: raising a server's word and reading its lanes.
 *
 * Each of the other macros breaks one condition; spec/run says that the model then finds a disagreement.
 */
#ifndef EPOCHS
#define EPOCHS 3
#endif
#ifndef LANES
#define LANES 2          /* that a leader begins at the witness */
#endif
#define BIT(n) (1 << (n))
#define IN(m, set) (((set) >> (m)) & 1)
#define COUNT(set) (IN(0, set) + IN(1, set) + IN(2, set))
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define HIGHEST(lanes) (IN(4, lanes) -> 4 : (IN(3, lanes) -> 3 : (IN(2, lanes) -> 2 : IN(1, lanes))))

byte word[3];
byte landed[2];          /* at a server: bit e: the entry of epoch e */
byte area[4];            /* at the witness: two of each server; the epoch of what is whole there, 0: nothing is */
byte value[EPOCHS + 1];
byte decided;
byte present[2];         /* the epoch in which a server takes part */

#ifdef SHARED_AREAS
#define AREA(n) (n)
#define OWN(i) ((i) < 2)
#else
#define AREA(n) (2 * s + (n))
#define OWN(i) ((i) / 2 == s)
#endif
#ifdef AREA_IN_PLACE
#define TARGET kept
#else
#define TARGET (1 - kept)
#endif
#define MAY_BEGIN (lane == 0 || (lane == 3 && begun < LANES))
#define HERE (present[s] == e)

inline raise_server(m) {
  word[m] = e;
  granted = granted | BIT(m);
  best = MAX(best, HIGHEST(landed[m]))
}

proctype leader(byte e) {
  byte s;
  byte granted, acked, best;
  byte left;             /* areas that are not read yet */
  byte kept, kept_epoch; /* which own area holds the later lane */
  byte lane;             /* at the witness: 1: is being written, 2: landed, 3: counted */
  byte target, begun;
  bool has_chosen;

  s = 1 - e % 2;
  if
  :: e == 1 ->
     granted = 7;
     has_chosen = true
  :: else ->
     atomic { present[s] < e -> present[s] = e }
  fi;
  do
  :: atomic { HERE && !IN(0, granted) && word[0] < e -> raise_server(0) }
  :: atomic { HERE && !IN(1, granted) && word[1] < e -> raise_server(1) }
  :: atomic {
       HERE && !IN(2, granted) && word[2] < e ->
       word[2] = e;
       granted = granted | 4;
       left = 4
     }
  :: atomic {
       HERE && left > 0 ->
       left--;
       best = MAX(best, area[left]);
#ifndef KEPT_BLINDLY
       if
       :: OWN(left) && area[left] > kept_epoch -> kept = left % 2; kept_epoch = area[left]
       :: else
       fi
#endif
     }
  :: atomic {
       HERE && !has_chosen && COUNT(granted) >= 2 && left == 0 ->
#ifdef AREAS_UNREAD
       best = MAX(HIGHEST(landed[0]) * IN(0, granted), HIGHEST(landed[1]) * IN(1, granted));
#endif
       value[e] = (best == 0 -> e : value[best]);
       has_chosen = true
     }
  :: atomic { HERE && has_chosen && IN(0, granted) && !IN(e, landed[0]) -> landed[0] = landed[0] | BIT(e) }
  :: atomic { HERE && has_chosen && IN(1, granted) && !IN(e, landed[1]) -> landed[1] = landed[1] | BIT(e) }
  :: atomic { HERE && !IN(0, acked) && IN(e, landed[0]) && word[0] == e -> acked = acked | 1 }
  :: atomic { HERE && !IN(1, acked) && IN(e, landed[1]) && word[1] == e -> acked = acked | 2 }
  :: atomic {
       HERE && has_chosen && IN(2, granted) && left == 0 && MAY_BEGIN ->
       target = TARGET;
       area[AREA(target)] = 0;
       begun++;
       lane = 1
     }
  :: atomic { HERE && lane == 1 -> area[AREA(target)] = e; lane = 2 }
  :: atomic { HERE && lane == 2 && word[2] == e -> kept = target; acked = acked | 4; lane = 3 }
  :: atomic {
       HERE && COUNT(acked) >= 2 && decided != value[e] ->
       assert(decided == 0);
       decided = value[e]
     }
  od
}

init {
  byte e;
  atomic {
    word[0] = 1; word[1] = 1; word[2] = 1;
    value[1] = 1;
    present[0] = 1;
    e = 1;
    do
    :: e <= EPOCHS -> run leader(e); e++
    :: else -> break
    od;
    e = 0
  }
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * One object, two groups with homes, 0 and 1, and a shard of the directory (docs/homes.md). The object is made in 0, written up to
 * WRITES times, moved up to MOVES times (each in two parts, each move refused or asked back at any point), and perhaps erased.
 *
 * Mail is what the mail model shows it to be: each mail is consumed once, in the order of its channel, by one entry with
 * everything that this brings about. So a step here is an entry that is decided, and there are no leaders; channels are as slow as they
 * like, each on its own. A part carries half of the object, as it is when the part is read.
 *
 * Looked at after every step: at most one group serves; the object is held by somebody until it is erased; who serves it, or lets it be read, has
 * everything that was written, and both halves are of the same time; once somebody could have been told of it, the directory leads to
 * it, by at most one tombstone, or to the group that says that it was erased. When nothing is under way any more: the directory is right,
 * and nothing is left elsewhere.
 *
 * Each of the other macros breaks one condition; spec/run says that the model then finds a disagreement.
 */
#ifndef MOVES
#define MOVES 3
#endif
#ifndef WRITES
#define WRITES 2
#endif
#define D 2                       /* the directory, as the end of a channel */
#define ROOM 10                   /* mails in a channel: more than there ever are */

#define NONE 0
#define HERE 1
#define LEAVING 2
#define ARRIVING 3
#define GONE 4
#define ERASED 5

#define PART 1                    /* move, counter, number, half */
#define TOOK 2                    /* move */
#define ARRIVED 3                 /* move */
#define REFUSED 4                 /* move */
#define CANCEL 5                  /* move */
#define SETTLED 6                 /* -, counter, former + 1 */
#define ERASE 7                   /* -, counter */
#define LOGGED 8                  /* -, counter */

/* The channel from f to t is number f * 3 + t. */
chan mail[9] = [ROOM] of { byte, byte, byte, byte, byte };
#define TO(f, t) mail[(f) * 3 + (t)]

byte state[2];
bit registered[2];
bit cancelled[2];
byte counter[2];
byte move[2];                     /* leaving: this group's; arriving: the other one's */
byte posted[2];                   /* leaving: parts */
byte first[2], second[2];         /* the halves that it holds, or has put aside */
byte moves[2];                    /* that the group began */

byte home;                        /* the directory: a group + 1, or 0 */
byte home_counter;

byte begun, written;
bit told, erased, quiet;

#define SERVES(g) (state[g] == HERE)
#define HOLDS(g) (state[g] == HERE || state[g] == LEAVING)
#ifdef NO_REGISTER
#define MAY_GO(g) 1
#else
#define MAY_GO(g) registered[g]
#endif
#define IS_WHERE(g) (HOLDS(g) || (state[g] == GONE && HOLDS(1 - (g))))
/* Who leaves is asked again, later. */
#define IS_ERASED(g) (state[g] == LEAVING || state[g] == ERASED || (state[g] == GONE && state[1 - (g)] == ERASED))
/* What leaves may be read until the last part is posted. */
#ifdef READ_WHEN_SENT
#define READS(g) HOLDS(g)
#else
#define READS(g) (state[g] == HERE || (state[g] == LEAVING && posted[g] < 2))
#endif
#define FIT (len(mail[1]) < ROOM && len(mail[2]) < ROOM && len(mail[3]) < ROOM && len(mail[5]) < ROOM && len(mail[6]) < ROOM && len(mail[7]) < ROOM)

inline forget(g) {
  registered[g] = 0; cancelled[g] = 0; move[g] = 0; posted[g] = 0;
  if
  :: state[g] == HERE || state[g] == LEAVING || state[g] == ARRIVING
  :: else -> first[g] = 0; second[g] = 0
  fi
}

inline look() {
  assert(FIT);
  assert(!(SERVES(0) && SERVES(1)));
  assert(erased || HOLDS(0) || HOLDS(1));
  assert(!READS(0) || (first[0] == written && second[0] == written && !erased));
  assert(!READS(1) || (first[1] == written && second[1] == written && !erased));
#ifdef TOLD_EARLY
  told = 1;
#endif
  told = told || (state[0] == HERE && (registered[0] || counter[0] > 1)) || (state[1] == HERE && counter[1] > 1);
  if
  :: told && !erased ->
     assert(home != 0);
     assert(IS_WHERE(home - 1))
  :: erased && home != 0 -> assert(IS_ERASED(home - 1))
  :: else
  fi;
  quiet = (len(mail[1]) + len(mail[2]) + len(mail[3]) + len(mail[5]) + len(mail[6]) + len(mail[7]) == 0);
  if
  :: quiet && state[0] != LEAVING && state[1] != LEAVING ->
     assert(erased == (home == 0));
     assert(erased || (state[home - 1] == HERE && registered[home - 1] && counter[home - 1] == home_counter));
     assert(erased || state[2 - home] == NONE);
     assert(!erased || (state[0] == NONE && state[1] == NONE))
  :: else
  fi;
  quiet = 0
}

inline post_erase(g) {
  registered[g] = 1;
  counter[g]++;
  TO(g, D)!ERASE, 0, counter[g], 0, 0
}

inline take_part(g) {
  if
  :: c == 1 ->
     assert(state[g] == NONE || (state[g] == GONE && counter[g] <= b));
     if
     :: state[g] = ARRIVING; counter[g] = b; registered[g] = 0; move[g] = a; first[g] = d; second[g] = 0;
#ifdef VISIBLE_EARLY
        state[g] = HERE; counter[g]++; move[g] = 0; second[g] = first[g];
        TO(g, 1 - g)!ARRIVED, a, 0, 0, 0;
        TO(g, D)!SETTLED, 0, counter[g], 2 - g, 0
#else
        TO(g, 1 - g)!TOOK, a, 0, 0, 0
#endif
     :: TO(g, 1 - g)!REFUSED, a, 0, 0, 0
     fi
  :: c == 2 && state[g] == ARRIVING && move[g] == a ->
     if
     :: second[g] = d; state[g] = HERE;
#ifndef COUNTER_KEPT
        counter[g]++;
#endif
        forget(g);
        TO(g, 1 - g)!ARRIVED, a, 0, 0, 0;
        TO(g, D)!SETTLED, 0, counter[g], 2 - g, 0
     :: state[g] = NONE; counter[g] = 0; forget(g);
        TO(g, 1 - g)!REFUSED, a, 0, 0, 0
     fi
  :: else
  fi
}

/* A mail of the other group. */
inline take(g) {
  TO(1 - g, g)?k, a, b, c, d;
  if
  :: k == PART -> take_part(g)
  :: k == ARRIVED && state[g] == LEAVING && move[g] == a ->
#ifdef NO_TOMBSTONE
     state[g] = NONE; counter[g] = 0;
#else
     state[g] = GONE; counter[g]++;
#endif
     forget(g)
  :: k == REFUSED && state[g] == LEAVING && move[g] == a -> state[g] = HERE; forget(g); registered[g] = 1
  :: k == CANCEL && state[g] == ARRIVING && move[g] == a ->
     state[g] = NONE; counter[g] = 0; forget(g);
     TO(g, 1 - g)!REFUSED, a, 0, 0, 0
  :: else
  fi;
  k = 0; a = 0; b = 0; c = 0; d = 0
}

/* A mail of the directory. */
inline hear(g) {
  TO(D, g)?k, a, b, c, d;
  if
  :: state[g] == HERE && counter[g] == b -> registered[g] = 1
  :: state[g] == LEAVING && counter[g] + 1 == b -> state[g] = NONE; counter[g] = 0; forget(g)
  :: state[g] == GONE && counter[g] <= b -> state[g] = NONE; counter[g] = 0; forget(g)
  :: state[g] == ERASED && counter[g] == b ->
     if
     :: registered[g] -> state[g] = NONE; counter[g] = 0; forget(g)
     :: else -> post_erase(g)
     fi
  :: else
  fi;
  k = 0; a = 0; b = 0; c = 0; d = 0
}

/* The directory consumes a notice of g. */
inline notice(g) {
  TO(g, D)?k, a, b, c, d;
  if
  :: k == SETTLED ->
     if
     :: home == 0 || b > home_counter -> home = g + 1; home_counter = b
     :: else
     fi;
     TO(D, g)!LOGGED, 0, b, 0, 0;
#ifndef TELLS_ONE
     if
     :: c != 0 && c != g + 1 -> TO(D, 1 - g)!LOGGED, 0, b, 0, 0
     :: else
     fi
#endif
  :: k == ERASE ->
     if
     :: home != 0 && b > home_counter -> home = 0; home_counter = 0
     :: else
     fi;
     TO(D, g)!LOGGED, 0, b, 0, 0
  fi;
  k = 0; a = 0; b = 0; c = 0; d = 0
}

inline begin(g) {
  begun++; moves[g]++;
  state[g] = LEAVING; move[g] = moves[g]; posted[g] = 0
}

inline post(g) {
  posted[g]++;
  TO(g, 1 - g)!PART, move[g], counter[g], posted[g], (posted[g] == 1 -> first[g] : second[g]);
#ifdef ERASED_WHEN_SENT
  if
  :: posted[g] == 2 -> state[g] = GONE; counter[g]++; forget(g)
  :: else
  fi
#endif
}

inline cancel(g) {
  if
  :: posted[g] == 0 -> state[g] = HERE; move[g] = 0
  :: else ->
     TO(g, 1 - g)!CANCEL, move[g], 0, 0, 0;
     cancelled[g] = 1;
#ifdef CANCELLED_ALONE
     state[g] = HERE; forget(g); registered[g] = 1
#endif
  fi
}

inline erase(g) {
  erased = 1;
  state[g] = ERASED; first[g] = 0; second[g] = 0;
  if
  :: MAY_GO(g) -> post_erase(g)
  :: else
  fi
}

#ifdef UNFROZEN
#define MAY_WRITE(g) HOLDS(g)
#else
#define MAY_WRITE(g) SERVES(g)
#endif

#define STEPS(g) \
  :: atomic { MAY_WRITE(g) && written < WRITES -> written++; first[g] = written; second[g] = written; look() } \
  :: atomic { SERVES(g) && MAY_GO(g) && begun < MOVES -> begin(g); look() } \
  :: atomic { state[g] == LEAVING && !cancelled[g] && posted[g] < 2 -> post(g); look() } \
  :: atomic { state[g] == LEAVING && !cancelled[g] -> cancel(g); look() } \
  :: atomic { SERVES(g) -> erase(g); look() } \
  :: atomic { nempty(TO(1 - g, g)) -> take(g); look() } \
  :: atomic { nempty(TO(D, g)) -> hear(g); look() } \
  :: atomic { nempty(TO(g, D)) -> notice(g); look() }

active proctype world() {
  byte k, a, b, c, d;
  atomic {
    state[0] = HERE; counter[0] = 1;
    TO(0, D)!SETTLED, 0, 1, 0, 0
  }
  do
  STEPS(0)
  STEPS(1)
  od
}

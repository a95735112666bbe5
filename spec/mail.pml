/* SPDX-License-Identifier: Apache-2.0
 *
 * Mail between two groups (docs/mail.md): a posts mails to b, which consumes each once; up to PLACES of them, with up to
 * NAMES attempts. Every interleaving, cut off anywhere.
 *
 * Each group has a log: what is decided, kept here as the state that it makes, and up to SUFFIX entries that are not. An entry
 * is decided when all before it are; a change of leaders cuts off any part of those that are not. The entries of a: a mail is
 * posted, and gets the next place in the channel; mails up to some place are acknowledged, and forgotten. Of b: the mail of
 * some place arrived; it is consumed if it is the next one, and else the entry does nothing.
 * A leader of a sends what is posted and decided, as often as it likes. A leader of b has whatever arrives written into its
 * log, as often as it arrives, and says up to where it has consumed what is decided. A leader of a has that written into its log.
 *
 * Every mail has a name of its own, that of its attempt to be posted: what was cut off is posted by nobody again, and the next
 * mail may get its place. Messages stay for ever: what arrives late, twice, in another order or never is all in it, and so is
 * what a leader says that was deposed and does not know it, because that was decided as well.
 *
 * Looked at when an entry of b is decided: the mail that it consumes is the one that is decided in that place of a's channel,
 * and the one behind the mail before, so that each is consumed once, in order, and not before its cause is durable. When an
 * acknowledgement is decided: what is forgotten was consumed, so that nothing is lost.
 *
 * Cuts that lose no run: b's log takes a message only if it does something there, or is older, which stands for all that does
 * nothing.
 *
 * Each of the other macros breaks one condition; spec/run says that the model then finds a disagreement.
 */
#ifndef PLACES
#define PLACES 3
#endif
#ifndef NAMES
#define NAMES 3
#endif
#ifndef SUFFIX
#define SUFFIX 3
#endif
#define BIT(n) (1 << (n))
#define IN(m, set) (((set) >> (m)) & 1)
#define SENT(place, name) (BIT(6 * ((place) - 1) + (name)))

/* Messages. */
int sent;                         /* SENT(place, name): that mail was sent as the one of that place */
byte told;                        /* bit n: b said that it has consumed up to n */

/* Group a. */
byte names;                       /* attempts to post so far */
byte a_posted;                    /* mails, as decided … */
byte a_name[PLACES + 1];          /* … and which */
byte a_forgotten;                 /* up to here, as decided */
byte a_kind[SUFFIX], a_what[SUFFIX], a_place[SUFFIX], a_length; /* entries that are not decided */
byte a_last, a_trim;              /* mails posted, and forgotten, as the leader sees it: with those entries */
#define POST 1
#define ACKNOWLEDGE 2

/* Group b. */
byte b_consumed;                  /* up to here, as decided */
byte b_names;                     /* bit n: the mail with that name was consumed, as decided */
byte b_what[SUFFIX], b_place[SUFFIX], b_length;
byte b_last;                      /* consumed up to here as the leader sees it: with the entries that are not decided */

#ifdef NO_ORDER
#define IS_NEXT(place, last) ((place) > (last))
#else
#ifdef NO_DEDUP
#define IS_NEXT(place, last) ((place) <= (last) + 1)
#else
#define IS_NEXT(place, last) ((place) == (last) + 1)
#endif
#endif

inline push_a(kind, what, place) {
  a_kind[a_length] = kind;
  a_what[a_length] = what;
  a_place[a_length] = place;
  a_length++
}

inline decide_a() {
  if
  :: a_kind[0] == POST ->
     a_name[a_place[0]] = a_what[0];
     a_posted = a_place[0]
  :: else ->
     n = a_forgotten + 1;
     do
     :: n <= a_place[0] -> assert(IN(a_name[n], b_names)); n++
     :: else -> break
     od;
     a_forgotten = (a_place[0] > a_forgotten -> a_place[0] : a_forgotten)
  fi;
  a_length--;
  n = 0;
  do
  :: n < a_length -> a_kind[n] = a_kind[n + 1]; a_what[n] = a_what[n + 1]; a_place[n] = a_place[n + 1]; n++
  :: else -> break
  od;
  a_kind[n] = 0; a_what[n] = 0; a_place[n] = 0;
  n = 0
}

/* The next leader has one entry less, or after some changes as few as there may be. */
inline cut_a() {
  a_length--;
  a_kind[a_length] = 0; a_what[a_length] = 0; a_place[a_length] = 0;
  a_last = a_posted;
  a_trim = a_forgotten;
  n = 0;
  do
  :: n < a_length && a_kind[n] == POST -> a_last = a_place[n]; n++
  :: n < a_length && a_kind[n] == ACKNOWLEDGE -> a_trim = (a_place[n] > a_trim -> a_place[n] : a_trim); n++
  :: else -> break
  od;
  n = 0
#ifdef RESTART                    /* who takes over counts what it finds in the outbox */
  ; a_last = a_last - a_trim
#endif
}

inline decide_b() {
  if
  :: IS_NEXT(b_place[0], b_consumed) ->
     assert(!IN(b_what[0], b_names));
     assert(b_place[0] == b_consumed + 1);
     assert(b_place[0] <= a_posted && a_name[b_place[0]] == b_what[0]);
     b_names = b_names | BIT(b_what[0]);
     b_consumed = b_place[0]
  :: else
  fi;
  b_length--;
  n = 0;
  do
  :: n < b_length -> b_what[n] = b_what[n + 1]; b_place[n] = b_place[n + 1]; n++
  :: else -> break
  od;
  b_what[n] = 0; b_place[n] = 0;
  n = 0
}

inline cut_b() {
  b_length--;
  b_what[b_length] = 0; b_place[b_length] = 0;
  b_last = b_consumed;
  n = 0;
  do
  :: n < b_length -> b_last = (IS_NEXT(b_place[n], b_last) && b_place[n] > b_last -> b_place[n] : b_last); n++
  :: else -> break
  od;
  n = 0
}

/* A message that arrives: the leader of b has it written. */
#define CAN_TAKE(place, name) (b_length < SUFFIX && (sent & SENT(place, name)) && (place <= b_last || IS_NEXT(place, b_last)))
inline take(place, name) {
  b_what[b_length] = name;
  b_place[b_length] = place;
  b_length++;
  b_last = (IS_NEXT(place, b_last) && place > b_last -> place : b_last)
}

#define TAKE(place, name) :: atomic { CAN_TAKE(place, name) -> take(place, name) }

#define CAN_ACKNOWLEDGE(n) (a_length < SUFFIX && IN(n, told) && n > a_trim && n <= a_last)
inline acknowledge(n) {
  push_a(ACKNOWLEDGE, 0, n);
  a_trim = n
}

#ifdef TOLD_EARLY
#define TELLABLE b_last
#else
#define TELLABLE b_consumed
#endif

/* Whether the decided mail of that place is in a's outbox. */
#define CAN_SEND(place) (place <= a_posted && place > a_trim && !(sent & SENT(place, a_name[place])))
inline send(place) {
  sent = sent | SENT(place, a_name[place])
#ifdef TRIM_ON_SEND
  ; told = told | BIT(place)
#endif
}

active proctype world() {
  byte n;
  do
  :: atomic { names < NAMES && a_length < SUFFIX && a_last < PLACES ->
              a_last++; names++; push_a(POST, names, a_last) }
  :: atomic { a_length > 0 -> decide_a() }
  :: atomic { a_length > 0 -> cut_a() }
  :: atomic { CAN_SEND(1) -> send(1) }
  :: atomic { PLACES > 1 && CAN_SEND(2) -> send(2) }
  :: atomic { PLACES > 2 && CAN_SEND(3) -> send(3) }
#ifdef SENT_EARLY
  :: atomic { a_length > 0 && a_kind[a_length - 1] == POST ->
              sent = sent | SENT(a_place[a_length - 1], a_what[a_length - 1]) }
#endif
  /* The mail in a place is at the earliest the attempt of that number. */
  TAKE(1, 1) TAKE(1, 2) TAKE(1, 3) TAKE(1, 4) TAKE(1, 5)
  TAKE(2, 2) TAKE(2, 3) TAKE(2, 4) TAKE(2, 5)
  TAKE(3, 3) TAKE(3, 4) TAKE(3, 5)
  :: atomic { b_length > 0 -> decide_b() }
  :: atomic { b_length > 0 -> cut_b() }
  :: atomic { TELLABLE > 0 && !IN(TELLABLE, told) -> told = told | BIT(TELLABLE) }
  :: atomic { CAN_ACKNOWLEDGE(1) -> acknowledge(1) }
  :: atomic { PLACES > 1 && CAN_ACKNOWLEDGE(2) -> acknowledge(2) }
  :: atomic { PLACES > 2 && CAN_ACKNOWLEDGE(3) -> acknowledge(3) }
  od
}

/** The time that a hook has. */

/** A hook has 1 s in all and stops waiting this long after its start, in ms. */
const deadlineMs = 900;

/** How long this hook may still wait for a lock, in ms. */
export const measureTimeLeft = () =>
	Math.max(50, deadlineMs - performance.now());

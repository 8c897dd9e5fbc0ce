/**
 * The events of a session that bg answers as a hook, in one list: what is installed follows from it.
 * Light, for the fast path of a hook.
 */

type Answers = {
	/** There may be something to do beside a notice that is due. */
	lively?: true;
	/** Droid puts what is answered before the model, so notices can be told. */
	tells?: true;
};

export const events = {
	SessionStart: { lively: true, tells: true },
	UserPromptSubmit: { tells: true },
	PostToolUse: { tells: true },
	SubagentStop: { lively: true },
	Stop: { lively: true },
	SessionEnd: { lively: true },
} as const satisfies Record<string, Answers>;

/** What bg does at an event; undefined where that is nothing. */
export const answersTo = (event: string): Answers | undefined =>
	Object.hasOwn(events, event)
		? events[event as keyof typeof events]
		: undefined;

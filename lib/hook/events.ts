/**
 * The events of a session that bg answers as a hook, in one list: what is installed follows from it.
 * Light, for the fast path of a hook.
 */

type HookEvent = {
	/** There may be something to do beside a notice that is due. */
	needsHandler?: true;
	/** Droid puts what is answered before the model, so notices can be told. */
	showsNotices?: true;
};

export const hookEvents = {
	SessionStart: { needsHandler: true, showsNotices: true },
	UserPromptSubmit: { showsNotices: true },
	PostToolUse: { showsNotices: true },
	SubagentStop: { needsHandler: true },
	Stop: { needsHandler: true },
	SessionEnd: { needsHandler: true },
} as const satisfies Record<string, HookEvent>;

/** What bg does at an event; undefined where that is nothing. */
export const findHookEvent = (event: string): HookEvent | undefined =>
	Object.hasOwn(hookEvents, event)
		? hookEvents[event as keyof typeof hookEvents]
		: undefined;

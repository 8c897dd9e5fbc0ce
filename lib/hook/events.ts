/**
 * The hook events that bg answers, and when they have work. `bg install` registers exactly these events.
 * The fast path loads this file, and not their handlers (hook/handle-event.ts).
 */

export type HookEvent = {
	/** There is work only if a notice is due for the session, or for this tool. */
	ifDue?: true;
	orTool?: string;
};

export const hookEvents = {
	SessionStart: {},
	UserPromptSubmit: { ifDue: true },
	PostToolUse: { ifDue: true, orTool: "Task" },
	SubagentStop: {},
	Stop: {},
	SessionEnd: {},
} as const satisfies Record<string, HookEvent>;

export type HookEventName = keyof typeof hookEvents;

/** Whether bg answers this event. */
export const isHookEvent = (name: string): name is HookEventName =>
	Object.hasOwn(hookEvents, name);

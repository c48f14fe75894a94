/**
 * What several accounts may still ask, together; pure.
 */
import type { BudgetView } from "./budget.ts";

/** No limit is known of the sum where it is not of one of them: that one can be asked. */
export function addBudgets(views: readonly BudgetView[]): BudgetView {
  const [only] = views;
  if (only !== undefined && views.length === 1) return only;
  const add = (of: (view: BudgetView) => number | undefined) =>
    views.reduce<number | undefined>((sum, view) => plus(sum, of(view)), 0);
  const limited = views.every(({ limit }) => limit !== undefined);
  return {
    limit: limited ? add(({ limit }) => limit) : undefined,
    remaining: limited ? add(({ remaining }) => remaining) : undefined,
    windowMs: maximum(views.map(({ windowMs }) => windowMs)),
    saidAt: limited ? minimum(views.map(({ saidAt }) => saidAt)) : undefined,
    closedUntil: Math.min(...views.map(({ closedUntil }) => closedUntil)),
    source: undefined,
  };
}

function plus(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? undefined : one + other;
}

function maximum(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : Math.max(...known);
}

function minimum(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

"""Who may have how much: quota, limits and fair shares of projects inside departments. Knows no pods and no nodes.

Read first: `tree.QuotaTree` (what is held, asked for and fair), `order.Turns` (who goes next), `reclaim.Trade` (who may
take from whom), `capacity.check` (what is refused at once).
"""

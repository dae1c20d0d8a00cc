select sale_key, gross_amount, discount_amount, net_amount
from {{ ref("fct_sales") }}
where net_amount <> gross_amount - discount_amount
